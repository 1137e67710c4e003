"""Choosing a model while it is trained: evaluations every so many steps on instances of their own, the best model kept
in `best/` of the run folder, and an end where nothing better comes.

An evaluation is what `sysgym evaluate --seeds 1` does with the weights as they are then. It counts for no budget, and
what it draws leaves no trace in the training.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sysgym import UsageError, content_hash
from sysgym.core.problem import AnyProblem
from sysgym_agents.core import Budget, make_agent, uncounted
from sysgym_agents.learning.learner import undisturbed
from sysgym_agents.learning.ratios import geometric_mean, ratio, usable_reference
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.evaluate import solve_once
from sysgym_zoo.jobs.runs import describe_instances
from sysgym_zoo.lookup.finding import sets_of
from sysgym_zoo.lookup.records import scored_rows
from sysgym_zoo.lookup.resolve import instance_names

BEST, PARTIAL = "best", ".best"  # folders of a run
WEIGHTS = "model.safetensors"


class Wanted(NamedTuple):
    """What a command, or a recipe, says of evaluations."""

    instances: str | None = None
    every: int | None = None
    stop_after: int | None = None

    def over(self, recipe: Mapping[str, Any]) -> Wanted:
        """What is said here, before what a recipe says."""
        return Wanted(*(recipe.get(key) if mine is None else mine for key, mine in self._asdict().items()))


NOTHING = Wanted()


class Schedule(NamedTuple):
    """Which instances are solved every so many steps, and after how many evaluations without a better one to stop."""

    instances: Sequence[Any]
    every: int
    stop_after: int | None = None

    def record(self, problem: AnyProblem) -> dict[str, Any]:
        """What the run folder says of it."""
        told = describe_instances(problem, list(self.instances))
        return {"instances": told, "every": self.every, "stop_after": self.stop_after}


@dataclass(frozen=True)
class Score:
    """What one evaluation found: means over the feasible answers, None where there are none or they have no meaning."""

    steps: int
    feasible: float  # share of the instances
    ratio: float | None  # geometric
    cost: float | None

    @property
    def rank(self) -> tuple[float, bool, float]:
        """Least for the best: the feasible share counts first, then the ratio, or the cost where there is none."""
        value = self.cost if self.ratio is None else self.ratio
        return (-self.feasible, self.ratio is None, math.inf if value is None else value)

    @property
    def metrics(self) -> dict[str, float]:
        """As they are logged."""
        told = {"eval/feasible": self.feasible, "eval/ratio": self.ratio, "eval/cost": self.cost}
        return {key: value for key, value in told.items() if value is not None}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Score:
        """From a row of metrics."""
        return cls(int(row["steps"]), row["eval/feasible"], row.get("eval/ratio"), row.get("eval/cost"))


def schedule_of(wanted: Wanted, problem: AnyProblem, budget: Budget, trained: Sequence[Any]) -> Schedule | None:
    """The evaluations of a new training, None if none are asked for; UsageError if they are not as they must be."""
    if wanted == NOTHING:
        return None
    if wanted.instances is None or wanted.every is None:
        flag = "--eval-instances SET" if wanted.instances is None else "--eval-every N (in steps)"
        raise UsageError(f"the model is evaluated on a set every so many steps; add {flag}.")
    check_counts(wanted)
    if budget.steps is not None and wanted.every > budget.steps:
        raise UsageError(
            f"--eval-every {wanted.every} comes after the last of {budget.steps} steps; give {budget.steps} or less."
        )
    instances = [problem.load(name) for name in instance_names(problem, wanted.instances)]
    refuse_test(problem, instances)
    known = {content_hash(item) for item in trained}
    twice = [item.name for item in instances if content_hash(item) in known]
    if twice:
        say(f"{', '.join(twice)} is trained on too, so that eval/ratio says little about what was not seen.")
    return Schedule(instances, wanted.every, wanted.stop_after)


def check_counts(wanted: Wanted) -> None:
    """UsageError unless both counts are whole numbers from 1."""
    for flag, value in (("--eval-every", wanted.every), ("--stop-after", wanted.stop_after)):
        if value is not None and value < 1:
            raise UsageError(f"{flag} must be a whole number from 1, got {value}.")


def refuse_test(problem: AnyProblem, instances: Sequence[Any], flag: str = "--eval-instances") -> None:
    """UsageError for an instance of a test split, by its content: a choice made on it spoils every result there.

    `flag` is what the instances were named with.
    """
    wanted = "valid" if flag == "--eval-instances" else "train"
    sets = sets_of(problem)
    tests = {entry.hash: name for name, group in sets.items() for entry in group.entries if entry.split == "test"}
    for item in instances:
        name = tests.get(content_hash(item))
        if name is not None:
            usable = [other for other in (name, *sets) if sets[other].names(wanted)]
            instead = f"{usable[0]}/{wanted}" if usable else "instances that no set tests on"
            raise UsageError(
                f"{item.name} is in the test split of {name}, and results there would mean nothing for a model that "
                f"was chosen by it; use {flag} {instead}."
            )


class Selection:
    """The evaluations of one training and the best model so far.

    A model becomes the best only after a checkpoint of the same steps was written, so that whatever the training goes
    on from, the best one until then is there.
    """

    def __init__(self, folder: Path, schedule: Schedule, problem: AnyProblem, agent: str) -> None:
        self.folder, self.schedule, self.problem, self.agent = folder, schedule, problem, agent
        self.references = [usable_reference(problem, item) for item in schedule.instances]
        self.scores: list[Score] = []
        self.next = schedule.every  # steps from which on the next evaluation is due

    @property
    def best(self) -> Score | None:
        """The first of the best so far."""
        return min(self.scores, key=lambda score: score.rank, default=None)

    @property
    def over(self) -> bool:
        """Whether so many evaluations brought nothing better that the training should end."""
        wait, best = self.schedule.stop_after, self.best
        return wait is not None and best is not None and len(self.scores) - 1 - self.scores.index(best) >= wait

    def record(self) -> dict[str, Any] | None:
        """What `run.json` says of the best model."""
        if self.best is None:
            return None
        weights = (self.folder / BEST / WEIGHTS).read_bytes()
        return {**asdict(self.best), "weights_sha256": hashlib.sha256(weights).hexdigest()}

    def told(self) -> str:
        """A sentence on how it went."""
        best, wait = self.best, self.schedule.stop_after
        if best is None:
            return (
                f"no evaluation took place: the training ended before {self.schedule.every} steps, so there is no best."
            )
        parts = {"ratio": best.ratio, "cost": best.cost, "feasible share": best.feasible}
        value = ", ".join(f"{name} {part:.4g}" for name, part in parts.items() if part is not None)
        stopped = f"stopped, as {wait} evaluations brought nothing better; " if self.over else ""
        return f"{stopped}{self.folder / BEST} is the model after {best.steps} steps ({value})."

    def due(self, steps: float) -> bool:
        """Whether it is time for an evaluation, or was since the last one."""
        return steps >= self.next and not self.over

    def evaluate(self, learner: Any, steps: float) -> Score:
        """Save the model, let a copy that is loaded from there solve every instance, and note its score."""
        partial = self.folder / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        with uncounted(), undisturbed():
            learner.save(partial)
            copy = make_agent(self.agent)
            try:
                copy.load(partial)
                rows = [solve_once(self.problem, item, copy, "", 0, Budget())[0] for item in self.schedule.instances]
            except UsageError as error:
                why = str(error).replace(str(partial), "its folder")
                raise UsageError(f"the model after {steps:.0f} steps cannot be evaluated: {why}") from error
        self.next = self._after(steps)
        self.scores.append(self._score(rows, int(steps)))
        return self.scores[-1]

    def _after(self, steps: float) -> int:
        return int(steps // self.schedule.every + 1) * self.schedule.every

    def _score(self, rows: Sequence[Mapping[str, Any]], steps: int) -> Score:
        pairs = [(row["cost"], known) for row, known in zip(rows, self.references, strict=True) if row["feasible"]]
        ratios = [None if known is None else ratio(cost, known.cost) for cost, known in pairs]
        sound = [value for value in ratios if value is not None]
        mean = geometric_mean(sound) if sound and len(sound) == len(pairs) else None
        cost = sum(cost for cost, _ in pairs) / len(pairs) if pairs else None
        return Score(steps, len(pairs) / len(rows), mean, cost)

    def keep(self) -> None:
        """Let the model that was evaluated last be the best one."""
        shutil.rmtree(self.folder / BEST, ignore_errors=True)
        (self.folder / PARTIAL).rename(self.folder / BEST)

    def drop(self) -> None:
        """Leave nothing but the best model behind."""
        shutil.rmtree(self.folder / PARTIAL, ignore_errors=True)

    def resume(self, steps: float) -> None:
        """Take back what was found until the steps of a checkpoint, and the best model of then."""
        self.scores = [Score.of(row) for row in scored_rows(self.folder)]
        self.next = self._after(steps)
        self.drop()
        if self.best is None:
            shutil.rmtree(self.folder / BEST, ignore_errors=True)
            return
        saved = self.folder / "checkpoints" / str(self.best.steps)
        if not (saved / WEIGHTS).is_file():
            raise UsageError(f"{saved}, the best model so far, is gone; start anew with another --out.")
        shutil.copytree(saved, self.folder / PARTIAL, ignore=shutil.ignore_patterns("progress.json", "training.*"))
        self.keep()
