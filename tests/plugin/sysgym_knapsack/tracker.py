"""A tracker that writes what it is told of into `notes.jsonl` of the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sysgym_zoo.tracking.writers import Told


class Notes:
    """Lines of JSON: the configuration, rows, and how it ended."""

    def __init__(self, told: Told) -> None:
        self.id = told.earlier or f"notes-{told.config['seed']}"
        self.file = told.folder / "notes.jsonl"
        self._write({"id": self.id, "after": told.steps, "config": dict(told.config)})

    def _write(self, row: Mapping[str, object]) -> None:
        with self.file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A line."""
        self._write({"step": step, **values})

    def finish(self, status: str) -> None:
        """The last line."""
        self._write({"status": status})
