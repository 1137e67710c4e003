"""Beams that grow narrower where few hypotheses matter: by a rule, and by a network that was told which ones did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.decoding.classical import TRANSLATION
from sysgym_agents.learning.devices import device_for, placed, weights_of
from sysgym_agents.learning.stepped import SteppedLearner

if TYPE_CHECKING:
    from sysgym.text.episodes.sentences import Sentences
    from sysgym.text.episodes.widths import Asked, Narrowing
    from sysgym_agents.decoding.narrowing_train import SurvivalNet

TOLD = 500  # steps between two reports of a training


def check_mode(name: str, problem: Narrowing) -> None:
    """UsageError where widths are not what is chosen."""
    if problem.mode != "width":
        raise UsageError(f"agent {name!r} cannot act in mode {problem.mode!r}: it chooses widths, in mode=width.")


class PrunedBeam:
    """Relative threshold pruning (Freitag and Al-Onaizan 2017): hypotheses whose length-normalised log P is more than
    `gap` below the best are dropped."""

    problems = TRANSLATION
    step = ""
    indivisible = "the whole answer"

    def __init__(self, *, gap: Annotated[float, Range(0, 100)] = 0.4) -> None:
        self.gap = gap

    def solve(self, problem: Narrowing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The widths of a beam of `k` that is pruned."""
        check_mode("pruned-beam", problem)
        return problem.narrowed(instance, self._widths)

    def _widths(self, asked: Asked) -> Array:
        scores = asked.search.scores
        return np.asarray((scores >= scores[:, :1] - self.gap).sum(axis=1))


@dataclass(kw_only=True, eq=False)
class LearntBeam(SteppedLearner):
    """A beam in which a hypothesis goes on if a network finds it likely enough to become the answer.

    `fit` searches for the answers of training sentences with `k` hypotheses in every step, and teaches the network to
    tell, by what the problem's mode shows of a hypothesis and of the step, those that the answer came of. The threshold
    is then chosen on sentences that it has not seen, by what the search costs with it: quality and forward passes at
    the problem's price.

    Hyper-parameters:
        hidden: width of the network's layers. learning_rate: of Adam, after a warm-up, with cosine decay.
        batch: hypotheses of a gradient step. sentences: that are searched for, one in five of them for the threshold.
        threshold: least probability of becoming the answer; None: what `fit` finds.
    """

    name: ClassVar[str] = "learnt-beam"
    problems: ClassVar[tuple[str, ...]] = TRANSLATION
    default_budget: ClassVar[Budget] = Budget(steps=2000)
    sizes: ClassVar[tuple[str, ...]] = ("hidden",)
    step: ClassVar[str] = "a gradient step (in `fit`; an answer is one)"
    indivisible: ClassVar[str] = "the whole answer, or the searches of a training"

    hidden: Annotated[int, Range(1, 8192), Choices(32, 64, 128)] = 64
    learning_rate: Annotated[float, Range(1e-9, 1.0), Search(3e-4, 1e-2, log=True)] = 3e-3
    batch: Annotated[int, Range(1, 2**20), Choices(256, 512, 1024, 2048)] = 1024
    sentences: Annotated[int, Range(5, 10**7)] = 2500
    threshold: Annotated[float | None, Range(0.0, 1.0)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.net: SurvivalNet | None = None
        self.found = 0.0  # threshold of the training

    def fit(
        self, problem: Narrowing, instances: Sequence[Sentences], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Learn from sentences, on from weights that are there already, or from `load_training`.

        `callback` hears the loss of the network every 500 steps.
        """
        from sysgym_agents.decoding.narrowing_train import Setting, Survival
        from sysgym_agents.learning.stepwise import MAX_ITERATIONS, resumed, run

        check_mode(self.name, problem)
        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one sentence to train on.")
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = MAX_ITERATIONS if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        setting = Setting(self.hidden, self.learning_rate, self.batch, self.sentences, total)
        progress = Survival(problem, instances, setting, rng, None if resume is not None else self.net)
        resumed(progress, resume, self.name)
        self._progress, self.net = progress, progress.net

        chosen = -1  # steps at which the threshold was

        def told(row: dict[str, float]) -> bool:
            nonlocal chosen
            self.found, chosen = progress.threshold(), progress.done
            return callback is None or callback(row)

        run(progress, total, clock, told, TOLD)
        if chosen != progress.done:
            self.found = progress.threshold()

    def solve(self, problem: Narrowing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The widths of a beam of `k`, from which the network, fresh if there is none, drops hypotheses."""
        from sysgym_agents.decoding.narrowing_train import chosen_widths

        check_mode(self.name, problem)
        threshold = self.found if self.threshold is None else self.threshold
        net = placed(self.net or self._drawn(rng), device_for(problem.k))
        return problem.narrowed(instance, chosen_widths(net, threshold))

    def prepare(self) -> None:
        """Import the network and the kernels."""
        super().prepare()
        import sysgym.text.catalogue
        import sysgym.text.episodes.widths
        from sysgym_agents.decoding import narrowing_train

        assert narrowing_train is not None and sysgym.text is not None

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the network."""
        return None if self.net is None else weights_of(self.net)

    def facts(self) -> dict[str, Any]:
        """The threshold of the training."""
        return {} if self.net is None else {"found": self.found}

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the network's weights anew; the threshold stays."""
        if self.net is None:
            return False
        self.net = self._drawn(rng)
        return True

    def _drawn(self, rng: np.random.Generator) -> SurvivalNet:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            return self._empty()

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The network and its threshold."""
        from sysgym_agents.learning.weights import filled

        found = facts.get("found")
        if not isinstance(found, float) or not 0 <= found <= 1:
            raise UsageError(f"{path}/agent.json must say under 'found' which threshold its training found, 0 to 1.")
        self.found, self.net = found, filled(self._empty, weights, path)

    def _empty(self) -> SurvivalNet:
        from sysgym_agents.decoding.narrowing_train import SurvivalNet

        return SurvivalNet(self.hidden)
