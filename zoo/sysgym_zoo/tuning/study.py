"""A study between processes: its trials in optuna's storage, and which of them a process works on next."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sysgym.core.errors import MissingDependency, SysgymError, UsageError
from sysgym_zoo.tuning.files import JOURNAL, LOCKS, TRIALS, Lock, alone, mended, read_facts

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "halving", "none")
STATES = ("COMPLETE", "PRUNED", "FAIL")  # of a trial that is finished


def library() -> Any:
    """Optuna, without its log; MissingDependency without it."""
    try:
        import optuna
    except ImportError as error:
        raise MissingDependency("sysgym tune needs optuna: pip install 'sysgym[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Without optuna's warnings that something is experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=library().exceptions.ExperimentalWarning)
        yield


class Claim(NamedTuple):
    """A trial that this process works on, until it lets the lock go."""

    trial: Any  # of optuna
    lock: Lock

    @property
    def number(self) -> int:
        """Of the trial."""
        return int(self.trial.number)


class Study:
    """A study as a process sees it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any] | None = None) -> None:
        self.folder, self.facts = folder, dict(facts or read_facts(folder))
        optuna = library()
        with quiet(), _sentences(self.facts["storage"]):
            storage = self._storage()
            if self.facts["name"] not in optuna.get_all_study_names(storage):
                self._refuse_trainings()
            self.optuna = optuna.create_study(
                study_name=self.facts["name"], storage=storage, direction="minimize", load_if_exists=True,
                pruner=_pruner(self.facts), sampler=_sampler(self.facts, 0),
            )  # fmt: skip

    def _refuse_trainings(self) -> None:
        """UsageError where there are trainings already: a storage that knows none of their trials is another one."""
        trainings = self.folder / TRIALS
        if trainings.is_dir() and any(trainings.iterdir()):
            where = self.facts["storage"] or self.folder / JOURNAL
            raise UsageError(
                f"{where} does not know the trials whose trainings are in {trainings}; put back the storage that the "
                "study was begun with, or name a new --study folder."
            )

    def _storage(self) -> Any:
        storages = library().storages
        file = file_of(self.facts["storage"]) if self.facts["storage"] else self.folder / JOURNAL
        if file is not None and not file.exists():  # before an empty one is made
            self._refuse_trainings()
        if self.facts["storage"]:
            return storages.RDBStorage(self.facts["storage"])
        journal = self.folder / JOURNAL
        return storages.JournalStorage(storages.journal.JournalFileBackend(str(journal), JournalLock(journal)))

    def trials(self) -> list[Any]:
        """All trials by number, as optuna keeps them, without those that wait to be tried."""
        found = self.optuna.get_trials(deepcopy=False)
        return [trial for trial in found if trial.state.name != "WAITING"]

    def finished(self) -> list[Any]:
        """Trials that are over: complete, pruned, or failed."""
        return [trial for trial in self.trials() if trial.state.name in STATES]

    @property
    def over(self) -> bool:
        """Whether as many trials as asked for are finished."""
        return len(self.finished()) >= self.facts["trials"]

    def begin(self) -> None:
        """Let the first trial be what is shipped, if there is none yet; `alone` must be held."""
        if not self.optuna.get_trials(deepcopy=False):
            self.optuna.enqueue_trial({name: self.facts["shipped"][name] for name in self.facts["space"]})

    def claim(self) -> Claim | Literal["wait"] | None:
        """A trial to work on: one that a killed process left behind, else a new one. None if all are finished, `wait`
        if others work on the rest.
        """
        with alone(self.folder):
            trials = self.trials()
            for trial in trials:
                if trial.state.name == "RUNNING":
                    lock = Lock(self.folder / LOCKS / str(trial.number))
                    if lock.acquire(wait=False):
                        self.optuna.sampler = _sampler(self.facts, trial.number)
                        return Claim(library().trial.Trial(self.optuna, trial._trial_id), lock)
            if len(trials) >= self.facts["trials"]:
                return None if self.over else "wait"
            self.optuna.sampler = _sampler(self.facts, len(trials))
            fresh = self.optuna.ask()
            lock = Lock(self.folder / LOCKS / str(fresh.number))
            lock.acquire()
            return Claim(fresh, lock)

    def best(self) -> Any:
        """The best complete trial, the first of several; UsageError if none is."""
        complete = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        if not complete:
            why = next((trial.user_attrs["error"] for trial in self.trials() if "error" in trial.user_attrs), "")
            raise UsageError(
                f"no trial of {self.folder} is complete, so there is no winner{f': {why}' if why else '.'}"
            )
        return min(complete, key=lambda trial: (trial.value, trial.number))

    def shipped(self) -> Any:
        """The first trial, of what is shipped, if it is complete; else None."""
        first = self.trials()[0]
        return first if first.state.name == "COMPLETE" else None


def file_of(url: str) -> Path | None:
    """The file of an address of SQLite; None where it is another database. UsageError for what is no address."""
    parts = _parts(url)
    if parts.get_backend_name() != "sqlite":
        return None
    name = parts.database or ":memory:"
    if name == ":memory:" or name.startswith("file:"):
        raise UsageError(f"--storage {url} names no file that processes share; give a path, as in sqlite:///x.db.")
    return Path(name)


def absolute(url: str) -> str:
    """An address of a database that means the same in every folder: the path of SQLite's file is made absolute."""
    file = file_of(url)
    return url if file is None else str(_parts(url).set(database=str(file.resolve())).render_as_string(False))


def _parts(url: str) -> Any:
    library()
    from sqlalchemy.engine import make_url

    with _sentences(url):
        return make_url(url)


class JournalLock:
    """The journal's lock, freed by the kernel where its holder is killed; taking it mends what such a one left behind.

    Optuna's own is a file that a killed process leaves there.
    """

    def __init__(self, journal: Path) -> None:
        self.journal, self.lock = journal, Lock(journal.parent / LOCKS / "journal")

    def acquire(self) -> bool:
        """Wait for it."""
        self.lock.acquire()
        mended(self.journal)
        return True

    def release(self) -> None:
        """Let it go."""
        self.lock.release()


def _sampler(facts: Mapping[str, Any], number: int) -> Any:
    """The sampler of one trial, whose seed is of the trial, so that no process draws what another drew."""
    samplers = library().samplers
    seed = int(np.random.SeedSequence([facts["seed"], number]).generate_state(1)[0])
    if facts["sampler"] == "random":
        return samplers.RandomSampler(seed=seed)
    warm = max(3, min(10, facts["trials"] // 4))
    with quiet():
        return samplers.TPESampler(seed=seed, n_startup_trials=warm, constant_liar=True)


def _pruner(facts: Mapping[str, Any]) -> Any:
    """What ends trials whose first training goes worse than those of others did."""
    pruners = library().pruners
    if facts["pruner"] == "median":
        return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    if facts["pruner"] == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return pruners.NopPruner()


@contextmanager
def _sentences(url: str | None) -> Iterator[None]:
    """UsageError where a database cannot be used."""
    try:
        yield
    except Exception as error:
        if url is None or isinstance(error, SysgymError):
            raise
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"--storage {url} cannot be used ({type(error).__name__}: {why}).") from error
