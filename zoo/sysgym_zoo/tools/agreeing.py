"""Agreement of recorded solutions with true classes, as a table; no number of it ever reaches an agent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysgym import UsageError
from sysgym.clustering.agreement import agreement
from sysgym.clustering.catalogue import truth
from sysgym.core.data import read_file
from sysgym.core.errors import printable
from sysgym.core.solutions import parse_npz
from sysgym_leaderboards.statistics import bootstrap_interval, mean
from sysgym_zoo.jobs.console import markdown
from sysgym_zoo.jobs.evaluate import summarise
from sysgym_zoo.jobs.report import read_rows
from sysgym_zoo.lookup.records import load_run

MEASURES = ("acc", "nmi", "ari")


def of_row(folder: Path, row: dict[str, Any]) -> dict[str, float]:
    """ACC, NMI and ARI of a recorded solution; UsageError where the classes of its instance are not known."""
    classes = truth(row["instance"])
    if classes is None:
        raise UsageError(f"the classes of {row['instance']} are not known; compare its labels with a file of them.")
    arrays = parse_npz(read_file(folder / row["solution"]))
    if "labels" not in arrays:
        raise UsageError(f"{folder} holds solutions of {row['problem']}, not of clustering.")
    return agreement(arrays["labels"], classes, 0)


def compared(folders: Sequence[Path]) -> tuple[list[dict[str, Any]], str]:
    """A line an agent of evaluation runs: cost and ratio, the means of ACC, NMI and ARI, and the 95 % bootstrap
    interval of ARI over the instances, seeds averaged; and the same as Markdown.
    """
    lines, notes = [], []
    for folder in folders:
        rows, record = read_rows(folder), load_run(folder)
        measured = [{**row, **of_row(folder, row)} for row in rows]
        for line in summarise(rows):
            mine = [row for row in measured if row["agent"] == line["agent"]]
            scores = {key: _by_seed(mine, key) for key in MEASURES}
            low, high = bootstrap_interval(scores["ari"].mean(axis=0, keepdims=True), mean)
            means = {key: float(value.mean()) for key, value in scores.items()}
            lines.append({
                "agent": line["agent"], "cost": line["cost"], "ratio": line["ratio"], **means, "ari low": float(low),
                "ari high": float(high), "seconds": line["seconds"], "instances": line["instances"],
                "seeds": line["seeds"],
            })  # fmt: skip
        names = sorted({row["instance"] for row in rows})
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        machine = f"{record['threads']} thread(s), {record['hardware']['processor']}"
        notes.append(f"{', '.join(names[:4])}{more}, {record['seeds']} seeds, {machine}.")
    lines.sort(key=lambda line: -line["ari"])
    return lines, printable(markdown(lines) + "\n\n" + "\n".join(dict.fromkeys(notes)))


def _by_seed(rows: Sequence[dict[str, Any]], key: str) -> Any:
    """Scores (seeds, instances) float64."""
    seeds, names = (sorted({row[what] for row in rows}) for what in ("seed", "instance"))
    table = np.full((len(seeds), len(names)), np.nan)
    for row in rows:
        table[seeds.index(row["seed"]), names.index(row["instance"])] = row[key]
    return table
