"""The head of a sweep: starts what is missing, takes up again what was killed, and tells how far it is."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from sysgym.core.errors import SysgymError, UsageError, unknown
from sysgym.core.solutions import read_json
from sysgym_zoo.jobs.console import Progress, say
from sysgym_zoo.jobs.runs import hardware, versions
from sysgym_zoo.lookup.records import MOST_THREADS, fault, load_run, nothing, one_of, table, text, whole
from sysgym_zoo.sweeps.backends import DIED, TICK, TRIES, Backend, Task, signals, wait_for_all
from sysgym_zoo.sweeps.execute import BUSY, DONE, FAILED, FULL, STOPPED, perform, plain, state, why_failed
from sysgym_zoo.sweeps.files import Sweep
from sysgym_zoo.sweeps.units import Unit, units_of
from sysgym_zoo.tracking.writers import check_trackers

SCHEMA = "sysgym-sweep/1"
AGAIN = 1.0  # seconds until a run is asked for again that another head has


def hexadecimal(value: Any) -> bool:
    """Whether a value is the id of a run: what is a folder's name must not lead anywhere else."""
    return isinstance(value, str) and len(value) == 16 and set(value) <= set("0123456789abcdef")


UNIT = {
    "id": hexadecimal, "kind": one_of("train", "evaluate"), "label": text, "family": text, "place": text,
    "words": table, "threads": whole(1, MOST_THREADS), "needs": text, "trained": table, "definition": table,
    "*": nothing,
}  # fmt: skip
SHAPE = {"schema": one_of(SCHEMA), "file": text, "compare": text, "units": [UNIT], "former": [UNIT]}
MOST_BYTES = 256 * 2**20


class Stopped(SysgymError):
    """A sweep that was interrupted; what is done is kept."""

    exit_code = 130


class Unfinished(SysgymError):
    """A sweep some of whose runs failed."""


def write_plan(root: Path, sweep: Sweep, units: Sequence[Unit]) -> None:
    """Record what a sweep consists of: `sweep.json`, whole or not at all. Runs that the file does not ask for any more
    stay in the folder and in the record.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "sweep.lock"):
        _write_plan(root, sweep, units)


def _write_plan(root: Path, sweep: Sweep, units: Sequence[Unit]) -> None:
    now = {unit.id for unit in units}
    try:
        told = load_record(root) if known(root) else {"units": [], "former": []}
        former = [unit for unit in (*told["units"], *told["former"]) if unit["id"] not in now]
    except UsageError as error:
        aside = root / "sweep.json.damaged"
        (root / "sweep.json").replace(aside)
        say(f"note: {error} It is kept as {aside}; the runs are found by their ids.")
        former = []
    record = {
        "schema": SCHEMA, "file": str(sweep.file), "compare": sweep.compare, "versions": versions(),
        "hardware": hardware(), "units": [asdict(unit) for unit in units], "former": former,
    }  # fmt: skip
    partial = root / "sweep.json.new"
    partial.write_text(json.dumps(record, indent=1, default=str) + "\n")
    partial.replace(root / "sweep.json")


def known(root: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (root / "sweep.json").is_file()


def load_record(root: Path) -> dict[str, Any]:
    """The record of a sweep; UsageError if the folder holds none."""
    if not known(root):
        raise UsageError(
            f"{root} is no folder of a sweep: it holds no sweep.json; name one made by `sysgym sweep FILE`."
        )
    record = read_json(root / "sweep.json", MOST_BYTES)
    wrong = fault(record, SHAPE)
    if wrong:
        raise UsageError(f"{root / 'sweep.json'} is no record of a sweep ({wrong}); run `sysgym sweep FILE` again.")
    return dict(record)


def load_units(root: Path) -> list[Unit]:
    """The runs of a sweep's record."""
    return [Unit(**told) for told in load_record(root)["units"]]


def folder_of(file: Path, out: Path | None) -> Path:
    """The folder of a sweep: what the user says, or `runs/NAME-sweep`, the same each time."""
    root = out or Path("runs") / f"{file.stem}-sweep"
    if out is None and known(root):
        other = Path(str(load_record(root)["file"]))
        if other.is_file() and not other.samefile(file):
            raise UsageError(f"{root} is the sweep of {other}; name another folder for {file} with --out.")
    if root.exists() and not known(root) and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{root} exists already and is no sweep's; name another folder with --out.")
    return root


def run_sweep(sweep: Sweep, root: Path, backend: Callable[[], Backend], track: Sequence[str] = ()) -> None:
    """Carry out all runs of a sweep that are not done; trainings are told to the trackers of `track`. UsageError before
    anything runs where one could never.

    Raises:
        Stopped: SIGINT or SIGTERM came; each run kept what it had.
        Unfinished: some failed, with their sentences.
        UsageError: the disk is full.
    """
    check_trackers(track)
    units = units_of(sweep.asks)
    labels = list(dict.fromkeys(unit.label for unit in units if unit.kind == "evaluate"))
    if sweep.compare and labels and sweep.compare not in labels:
        raise unknown(f"agent to compare with in {sweep.file}", sweep.compare, labels)
    write_plan(root, sweep, units)
    states = {unit.id: state(root, unit) for unit in units}
    left = {name for name, found in states.items() if found != DONE}
    missing = [unit for unit in units if {unit.id, unit.needs} & left]  # a model made anew is evaluated anew
    if not missing:
        say(f"all {len(units)} runs are done.")
        return
    place = backend()
    try:
        for threads in sorted({unit.threads for unit in missing}):
            place.refuse(threads)
        _Head(root, place, units, missing, track).run()
    finally:
        place.close()


class _Head:
    """What has been started, what waits, and how often a run was killed."""

    def __init__(
        self, root: Path, backend: Backend, units: Sequence[Unit], missing: Sequence[Unit], track: Sequence[str]
    ) -> None:
        self.root, self.backend, self.units = root, backend, {unit.id: unit for unit in units}
        self.waiting, self.track = deque(missing), tuple(track)
        self.running: dict[str, float] = {}  # ids, and when they were started
        self.done = set(self.units) - {unit.id for unit in missing}
        self.failed: dict[str, str] = {}
        self.killed: Counter[str] = Counter()
        self.later: dict[str, float] = {}  # ids of those that another head has, and when to ask again
        self.took: dict[str, list[float]] = {}  # seconds of runs by label and kind
        self.stopped = False
        self.bar = Progress("sweep", len(self.units), "runs", last=True)

    def run(self) -> None:
        """Until all are done or failed, or somebody says stop."""
        with signals(self._stop):
            while (self.waiting or self.running) and not self.stopped:
                self._start()
                self._take(self.backend.ended(TICK))
                self._show()
            if self.stopped:
                self._wait_for_the_rest()
        self.bar.close()
        if self.stopped:
            raise Stopped(
                f"stopped with {len(self.done)} of {len(self.units)} runs done; the same command goes on from there."
            )
        if self.failed:
            shown = [
                f"{self.units[name].kind} {name} ({self.units[name].label}): {why}" for name, why in self.failed.items()
            ]
            for line in shown:
                say(line)
            raise Unfinished(
                f"{len(self.failed)} of {len(self.units)} runs failed; mend what they say and run it again."
            )

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True

    def _start(self) -> None:
        """Start whatever has its turn, its training done and room."""
        now = time.monotonic()
        for _ in range(len(self.waiting)):
            unit = self.waiting.popleft()
            if unit.needs in self.failed:
                self.failed[unit.id] = f"the training {unit.needs} that it needs failed."
            elif self.later.get(unit.id, 0) > now or (unit.needs in self.units and unit.needs not in self.done):
                self.waiting.append(unit)
            elif self.backend.room(unit.threads):
                arguments = (str(self.root.resolve()), os.getcwd(), plain(unit), self.track)
                self.backend.start(Task(unit.id, perform, arguments, unit.threads))
                self.running[unit.id] = now
            else:
                self.waiting.appendleft(unit)
                if not self.running:  # nothing will make room: a node may be gone
                    self.backend.refuse(unit.threads)
                return

    def _take(self, ended: Sequence[Any]) -> None:
        for name, outcome in ended:
            unit, began = self.units[name], self.running.pop(name)
            status, why = outcome.get("status"), str(outcome.get("error", ""))
            if status == DONE and state(self.root, unit) == DONE:
                self.done.add(name)
                self.took.setdefault(unit.label + unit.kind, []).append(time.monotonic() - began)
            elif status == BUSY:
                self.later[name] = time.monotonic() + AGAIN
                self.waiting.append(unit)
            elif status == FULL:
                self.backend.interrupt()
                raise UsageError(f"{unit.folder(self.root)}: {why} Make room and run the same command again.")
            elif status in (DIED, STOPPED, DONE) and not self.stopped:
                self.killed[name] += 1
                if self.killed[name] < TRIES:
                    self.waiting.appendleft(unit)
                else:
                    self.failed[name] = f"given up after {TRIES} tries: {why or status}"
            elif not self.stopped:
                self.failed[name] = why or why_failed(self.root, unit)

    def _wait_for_the_rest(self) -> None:
        say(f"stopping; {len(self.running)} run(s) keep what they have.")
        self._take(wait_for_all(self.backend, set(self.running)))

    def _show(self) -> None:
        left = self._seconds_left()
        note = f"{len(self.running)} running" + (f", {len(self.failed)} failed" if self.failed else "")
        self.bar.update(len(self.done) + len(self.failed), note + (f", about {told(left)} left" if left else ""))

    def _seconds_left(self) -> float:
        """From the mean of runs of the same label, or of all; 0 before the first has ended."""
        every = [seconds for found in self.took.values() for seconds in found]
        if not every:
            return 0.0
        usual = sum(every) / len(every)

        def mean(unit: Unit) -> float:
            found = self.took.get(unit.label + unit.kind, [])
            return sum(found) / len(found) if found else usual

        now = time.monotonic()
        rest = sum(mean(unit) for unit in self.waiting)
        rest += sum(max(mean(self.units[name]) - (now - began), 0.0) for name, began in self.running.items())
        return rest / max(len(self.running), 1)


def told(seconds: float) -> str:
    """A time to go in words.

    >>> told(5400)
    '1.5 h'
    """
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def status_rows(root: Path, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """A line a run: its state, and how far it is."""
    return [{**row_of(unit), "state": state(root, unit), **_spent(root, unit)} for unit in units]


def row_of(unit: Unit) -> dict[str, Any]:
    """A run as a line of a table."""
    said = {key: value for key, value in unit.words.items() if key in ("seed", "instances")}
    return {
        "id": unit.id, "kind": unit.kind, "agent": unit.label, "seed": said.get("seed"),
        "instances": said.get("instances"), "threads": unit.threads,
    }  # fmt: skip


def _spent(root: Path, unit: Unit) -> dict[str, Any]:
    try:
        record: Mapping[str, Any] = load_run(unit.folder(root))
    except SysgymError:
        return {"seconds": None, "why": why_failed(root, unit) if state(root, unit) == FAILED else None}
    failed = record["status"] == "failed"
    return {"seconds": record.get("seconds"), "why": record.get("error") or why_failed(root, unit) if failed else None}
