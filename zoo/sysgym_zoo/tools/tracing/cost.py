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

GPU = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of a profiler's events: what runs on a GPU, ...
LAUNCHES = ("cuda_runtime", "cuda_driver", "hip_runtime", "runtime", "privateuse1_runtime")  # ... what starts it, ...
OPERATORS = ("cpu_op", "operator", "Operator")  # ... and for whom


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

    `aten::addmm` is the operator `addmm`. In the profile of a GPU an operator takes as long as the kernels that it
    started, itself or by operators within it, told by their External id or correlation. UsageError if the file holds
    no such events, or kernels that belong to no operator.
    """
    found = _read_json(path)
    events = found.get("traceEvents") if isinstance(found, dict) else found
    if not isinstance(events, list):
        raise UsageError(f"{path} is no Chrome trace: it needs 'traceEvents', a list of events with name and dur.")
    timed = [event for event in events if isinstance(event, dict) and _is_timed(event)]
    if not timed:
        raise UsageError(f"{path} holds no event with a name and a duration `dur` in microseconds.")
    kernels = [event for event in timed if str(event.get("cat")).lower() in GPU]
    calls = _kernel_times(timed, kernels) if kernels else [(event["name"], float(event["dur"])) for event in timed]
    if not calls:
        raise UsageError(
            f"{path} holds {len(kernels)} kernels of a GPU that belong to no operator; record the CPU too, so that "
            "operators and kernels share an External id or a correlation."
        )
    spent: dict[str, list[float]] = {}
    for name, duration in calls:
        spent.setdefault(name.removeprefix("aten::"), []).append(duration)
    return {name: round(1000 * sum(each) / len(each)) for name, each in spent.items() if name not in LEAVES}


def _is_timed(event: dict[str, Any]) -> bool:
    """Whether an event has a name and a duration that can be one."""
    duration = event.get("dur")
    if not isinstance(event.get("name"), str) or isinstance(duration, bool) or not isinstance(duration, int | float):
        return False
    return 0 <= duration * 1000 <= MOST_NS


def _kernel_times(events: list[dict[str, Any]], kernels: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Name, and microseconds of the kernels, of every call of an operator that started any."""
    linked: dict[Any, Any] = {}  # from the correlation of a launch to the External id of its operator
    for event in events:
        given = _arguments(event)
        if event.get("cat") in LAUNCHES and "correlation" in given and "External id" in given:
            linked[given["correlation"]] = given["External id"]
    own: dict[Any, float] = {}
    for event in kernels:
        given = _arguments(event)
        number = given.get("External id", linked.get(given.get("correlation")))
        own[number] = own.get(number, 0.0) + float(event["dur"])
    rows = [event for event in events if event.get("cat") in OPERATORS and isinstance(event.get("ts"), int | float)]
    rows.sort(key=lambda event: (str(event.get("pid")), str(event.get("tid")), event["ts"], -event["dur"]))
    spent, open_rows, place = [0.0] * len(rows), list[int](), None
    for i, event in enumerate(rows):
        if place != (place := (event.get("pid"), event.get("tid"))):
            open_rows = []
        while open_rows and _end(rows[open_rows[-1]]) < _end(event):
            open_rows.pop()
        open_rows.append(i)
        started = own.pop(_arguments(event).get("External id"), 0.0)
        for row in open_rows:  # it counts for whichever operators it runs within
            spent[row] += started
    return [(event["name"], time) for event, time in zip(rows, spent, strict=True) if time > 0]


def _arguments(event: dict[str, Any]) -> dict[str, Any]:
    """The links of an event, numbers or texts alone, by their newest names."""
    given = event.get("args")
    found = dict(given) if isinstance(given, dict) else {}
    found = {key: value for key, value in found.items() if isinstance(value, int | str)}
    if "external id" in found:
        found["External id"] = found["external id"]
    return found


def _end(event: dict[str, Any]) -> float:
    """When a call ends."""
    return float(event["ts"]) + float(event["dur"])


def _read_json(path: Path) -> Any:
    data = decompress(str(path), read_file(path))
    with reading(path):
        return json.loads(data)  # of a profiler, which need not be strict
