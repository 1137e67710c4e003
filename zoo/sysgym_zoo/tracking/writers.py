"""Trackers: where a training's numbers go beside the record in `metrics.jsonl`.

A tracker registers with an entry point in the group `sysgym.trackers`, named as `--track` calls it; the value is a
callable that takes `Told` and returns a `Writer`. One that fails while a training runs is told of in one sentence and
left out from then on: it never ends the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from sysgym.core.errors import SysgymError, UsageError, shortened, unknown
from sysgym.core.registry import Registry
from sysgym_zoo.jobs.console import say

TRACKERS = "sysgym.trackers"
ALWAYS = "tensorboard"  # of every training
tracker_registry = Registry(TRACKERS)


class Told(NamedTuple):
    """What a tracker gets to know of a run when it is opened."""

    folder: Path  # the run folder
    config: Mapping[str, Any]  # plain data: the record of the run, as run.json keeps it
    earlier: str = ""  # the `id` of the tracked run that goes on; "" for a new one
    steps: int = 0  # after which it goes on


class Writer(Protocol):
    """One tracked run."""

    id: str  # to go on with it later; "" if there is nothing to go on with

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...  # names as in the vocabulary

    def finish(self, status: str) -> None: ...  # done, interrupted, failed


class Tracking(NamedTuple):
    """What is tracked: by which trackers, and the run that goes on."""

    names: Sequence[str] = ()  # that the user asks for
    earlier: Mapping[str, str] = MappingProxyType({})  # ids of the tracked runs by tracker
    steps: int = 0  # after which it goes on


class Writers:
    """All trackers of a run: those that are asked for, those that it had, and ALWAYS.

    One that is asked for and cannot be opened is an error: MissingDependency without its package, UsageError where it
    does not start. One that the run had is told of in a sentence, and the run goes on without it.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], tracking: Tracking) -> None:
        self.open: dict[str, Writer] = {}
        self.ids = {name: told for name, told in tracking.earlier.items() if told}
        names = [name for name in (*tracking.names, *self.ids) if name != ALWAYS]
        for name in dict.fromkeys([*names, ALWAYS]):
            try:
                told = Told(folder, config, self.ids.get(name, ""), tracking.steps)
                writer = _opened(name, told, name in tracking.names)
            except SysgymError as error:
                if name in (*tracking.names, ALWAYS):
                    self.finish("failed")
                    raise
                say(f"note: {error} The training goes on without it.")
                continue
            self.open[name] = writer
            self.ids |= {name: writer.id} if writer.id else {}

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Pass numbers on to every tracker that still works."""
        for name, writer in list(self.open.items()):
            try:
                writer.scalars(values, step)
            except Exception as error:  # of any library
                self._dropped(name, error)

    def finish(self, status: str) -> None:
        """End every tracked run."""
        for name, writer in list(self.open.items()):
            try:
                writer.finish(status)
            except Exception as error:  # of any library
                self._dropped(name, error)
        self.open.clear()

    def _dropped(self, name: str, error: Exception) -> None:
        del self.open[name]
        say(f"note: tracker {name} failed ({_why(error)}); the training goes on without it.")


def tracker_names() -> list[str]:
    """Names of all registered trackers; nothing is imported."""
    return tracker_registry.names()


def check_trackers(names: Sequence[str]) -> None:
    """UsageError for a name that no tracker has, with the nearest one."""
    for name in names:
        if name not in tracker_names():
            raise unknown("tracker", name, tracker_names())


def _opened(name: str, told: Told, asked: bool) -> Writer:
    """A tracker's run; asked: whether `--track` names it, else the run that goes on had it."""
    check_trackers([name])
    try:
        writer: Writer = tracker_registry.get(name)(told)
    except SysgymError:
        raise
    except Exception as error:
        out = f"leave out --track {name}" if asked else "resume the run again, once it works, to go on there"
        raise UsageError(f"tracker {name} does not start ({_why(error)}); {out}.") from error
    return writer


def _why(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return shortened(f"{type(error).__name__}: {said}" if said else type(error).__name__, 200)
