"""Run folders: one execution and everything needed to repeat it.

`run.json` (what was run, with which seed, versions, threads, hardware and instance hashes), `metrics.jsonl` (a row a
report, under the names of `tracking.vocabulary`), TensorBoard events in `tensorboard/`, the agent in `agent/`, the best
one of its evaluations in `best/`, checkpoints in `checkpoints/STEPS/`, solutions of an evaluation in `solutions/`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError, reading
from sysgym.core.problem import AnyProblem
from sysgym_zoo.jobs.console import clean, say, was_interrupted
from sysgym_zoo.lookup.records import rows_until
from sysgym_zoo.tracking.vocabulary import named, scalars
from sysgym_zoo.tracking.writers import Tracking, Writers

PACKAGES = (
    "sysgym",
    "gymnasium",
    "numpy",
    "scipy",
    "numba",
    "torch",
    "stable-baselines3",
    "sb3-contrib",
    "pymetis",
    "kahip",
    "mtkahypar",
)


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor and cores."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system()}


def set_threads(threads: int) -> None:
    """Fix the threads of every pool: results of torch depend on them, and the time of everything does."""
    from sysgym import resources

    resources.set_threads(threads)


def set_device(wish: str) -> None:
    """Where networks are computed from now on; UsageError where torch finds no such device."""
    from sysgym_agents.learning import devices

    devices.use(wish)


def tell_device() -> dict[str, Any]:
    """Which device has been used, for a record; a line about it on stderr where it is not plainly the CPU."""
    from sysgym_agents.learning import devices

    facts = devices.described()
    if line := devices.told(facts):
        say(line)
    return facts


def fresh_folder(out: Path | None, stem: str, hint: str = "") -> Path:
    """The folder that the user named (it must be new or empty), or the next free one below `runs/`."""
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} exists already; name a new folder with --out{hint}.")
        folder = out
    else:
        number = 1
        while (Path("runs") / f"{stem}-{number}").exists():
            number += 1
        folder = Path("runs") / f"{stem}-{number}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the run folder {folder}: {error.strerror or error}.") from error
    return folder


def describe_instances(problem: AnyProblem, instances: list[Any]) -> list[dict[str, str]]:
    """Names and content hashes."""
    from sysgym import content_hash

    return [{"name": item.name, "hash": content_hash(item)} for item in instances]


def keep_metrics(folder: Path, steps: float) -> None:
    """Drop the rows of `metrics.jsonl` after some steps, and a last row that a kill cut off."""
    file = folder / "metrics.jsonl"
    if file.is_file():
        with reading(file):
            file.write_text("".join(rows_until(file.read_text().splitlines(), steps)))


class Run:
    """Writes a run folder. Use as a context manager: leaving it records how the run ended."""

    def __init__(self, folder: Path, record: dict[str, Any], tracking: Tracking | None = None) -> None:
        self.folder = folder
        self.record = {
            "schema": "sysgym-run/1",
            **record,
            "versions": versions(),
            "hardware": hardware(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "status": "running",
        }
        self._clock, self._cpu = time.perf_counter(), time.process_time()
        self._writers: Writers | None = None
        if tracking is not None:
            self._writers = Writers(folder, clean(self.record), tracking)
            self.record |= {"track": self._writers.ids} if self._writers.ids else {}
        self._save()

    def _save(self) -> None:
        temporary = self.folder / "run.json.new"
        temporary.write_text(json.dumps(clean(self.record), indent=1) + "\n")
        temporary.replace(self.folder / "run.json")

    def log(self, row: dict[str, Any], step: int | None = None) -> None:
        """A row of metrics; one of a step of a training gets the names of the vocabulary, and goes to trackers too."""
        row = row if step is None else named(row)
        with (self.folder / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps(clean(row)) + "\n")
        if self._writers is not None and step is not None:
            self._writers.scalars(scalars(row), step)

    def note(self, **facts: Any) -> None:
        """Add facts to the record, or change them."""
        self.record |= facts
        self._save()

    def finish(self, status: str, **extra: Any) -> None:
        """Record how the run ended."""
        self.record |= {"status": status, "seconds": time.perf_counter() - self._clock, **extra}
        self.record["cpu_seconds"] = time.process_time() - self._cpu
        self._save()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self.record["status"] == "running":
            status = "interrupted" if was_interrupted(error) else "failed" if kind else "done"
            self.finish(status, **({"error": str(error)} if kind else {}))
        if self._writers is not None:
            self._writers.finish(self.record["status"])
