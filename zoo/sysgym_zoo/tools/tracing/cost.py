"""How long an operator takes: a roofline of one device, and times that a user has measured instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading
from sysgym.dataflow.graphs.roofline import MOST_NS, Roofline
from sysgym_zoo.tools.tracing.ops import LEAVES


@dataclass(frozen=True)
class Timing:
    """A roofline, and nanoseconds by the name of the operator where they were measured or given."""

    roofline: Roofline = field(default_factory=Roofline)
    measured: Mapping[str, int] = field(default_factory=dict)

    def time_ns(self, op: str, flops: int, traffic: int) -> int:
        """Nanoseconds of one operator."""
        if op in LEAVES:
            return 0
        return self.measured[op] if op in self.measured else self.roofline.time_ns(flops, traffic)

    @property
    def label(self) -> str:
        """What a graph says of the origin of its times."""
        count = len(self.measured)
        return self.roofline.label + (f", {count} operators measured" if count else "")


def read_times(path: Path) -> dict[str, int]:
    """Nanoseconds by operator from a JSON object; UsageError with the entry that is wrong."""
    found = _read_json(path)
    if not isinstance(found, dict):
        raise UsageError(
            f'{path} must be an object such as {{"addmm": 41000}} of nanoseconds, got {type(found).__name__}.'
        )
    for op, value in found.items():
        if op in LEAVES:
            raise UsageError(f"{path}: {op!r} takes no time; name operators such as 'addmm'.")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_NS:
            raise UsageError(f"{path}: {op!r} must take a whole number of ns from 0 to {MOST_NS}, got {value!r:.40}.")
    return dict(found)


def read_profile(path: Path) -> dict[str, int]:
    """Mean nanoseconds by operator from a Chrome trace, such as torch.profiler exports: events with name and dur (us).

    `aten::addmm` is the operator `addmm`; the kernels of a GPU have other names and match none. UsageError if the file
    holds no such events.
    """
    found = _read_json(path)
    events = found.get("traceEvents") if isinstance(found, dict) else found
    if not isinstance(events, list):
        raise UsageError(f"{path} is no Chrome trace: it needs 'traceEvents', a list of events with name and dur.")
    spent: dict[str, list[float]] = {}
    for event in events:
        name, duration = (event.get("name"), event.get("dur")) if isinstance(event, dict) else (None, None)
        if isinstance(name, str) and isinstance(duration, int | float) and 0 <= duration * 1000 <= MOST_NS:
            spent.setdefault(name.removeprefix("aten::"), []).append(float(duration))
    if not spent:
        raise UsageError(f"{path} holds no event with a name and a duration `dur` in microseconds.")
    return {name: round(1000 * sum(each) / len(each)) for name, each in spent.items() if name not in LEAVES}


def _read_json(path: Path) -> Any:
    data = decompress(str(path), read_file(path))
    with reading(path):
        return json.loads(data)  # of a profiler, which need not be strict
