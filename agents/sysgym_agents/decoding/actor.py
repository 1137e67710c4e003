"""`trainable-greedy`: greedy decoding that an actor corrects (Gu, Cho and Li 2017; Chen et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.decoding.classical import TRANSLATION, answered, refuse_steering
from sysgym_agents.learning.devices import weights_of
from sysgym_agents.learning.stepped import SteppedLearner

if TYPE_CHECKING:
    from sysgym.text.episodes.rows import Writing
    from sysgym.text.episodes.sentences import Sentences
    from sysgym.text.model import TextModel
    from sysgym_agents.decoding.actor_train import ActorNet

TOLD = 50  # steps between two reports of a training
WIDEST = 2**16  # of a decoder's vector


@dataclass(kw_only=True, eq=False)
class TrainableGreedy(SteppedLearner):
    """Decoding by a frozen model whose scores an actor corrects: greedily, one forward pass a token, or by a beam.

    The actor reads the decoder's vector before the softmax, the last token and the log-probabilities of the most
    probable next tokens, and adds a vector to the first, which moves the scores of those tokens. `fit` teaches it to
    write what a beam finds: of the hypotheses of each training sentence the one that its reference scores best. The
    weights are for one model. Fresh ones correct nothing, and are greedy decoding.

    Hyper-parameters:
        hidden: width of the actor. candidates: next tokens among which it chooses.
        width: of the beam, with the full length penalty, whose best answers it imitates.
        beam: width of the search of `solve` among corrected scores; 1 is one forward pass a token.
        learning_rate: of AdamW, after a warm-up, with cosine decay. dropout: of the actor in training.
        batch: positions of a gradient step.
    """

    name: ClassVar[str] = "trainable-greedy"
    problems: ClassVar[tuple[str, ...]] = TRANSLATION
    default_budget: ClassVar[Budget] = Budget(steps=2000)
    sizes: ClassVar[tuple[str, ...]] = ("hidden",)
    step: ClassVar[str] = "a gradient step (in `fit`; an answer is one)"
    indivisible: ClassVar[str] = "the whole answer, or the beam search of some training sentences"

    hidden: Annotated[int, Range(1, 8192), Choices(128, 256, 512)] = 256
    candidates: Annotated[int, Range(2, 64)] = 8
    width: Annotated[int, Range(2, 256)] = 5
    beam: Annotated[int, Range(1, 64)] = 1
    learning_rate: Annotated[float, Range(1e-9, 1.0), Search(3e-4, 1e-2, log=True)] = 2e-3
    dropout: Annotated[float, Range(0.0, 0.9), Search(0.0, 0.4)] = 0.1
    batch: Annotated[int, Range(1, 2**20), Choices(512, 1024, 2048, 4096)] = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beam > self.candidates:
            raise UsageError(
                f"agent {self.name!r}: a beam of {self.beam} needs as many candidates, not {self.candidates}."
            )
        self.net: ActorNet | None = None
        self.model = ("", "")  # name and hash of the model that the weights are for

    def fit(
        self, problem: Writing, instances: Sequence[Sentences], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Learn from sentences with references, on from weights that are there already, or from `load_training`.

        `callback` hears the loss and how often the actor's choice is the imitated one, every 50 steps.
        """
        from sysgym_agents.decoding.actor_train import Imitation, Setting
        from sysgym_agents.learning.stepwise import MAX_ITERATIONS, resumed, run

        refuse_steering(self.name, problem)
        if not instances:
            raise UsageError(f"agent {self.name!r} needs at least one sentence to train on.")
        models = {problem.model_of(instance).hash: problem.model_of(instance) for instance in instances}
        if len(models) > 1:
            names = ", ".join(sorted(each.name for each in models.values()))
            raise UsageError(f"agent {self.name!r} learns for one model, and these instances are for {names}.")
        (model,) = models.values()
        start = self._fitting(model) if self.net is not None else None
        clock, (resume, self._resume) = Clock(budget), (self._resume, None)
        planned = MAX_ITERATIONS if budget.steps is None else max(budget.steps, 1)
        total = planned if resume is None else resume.facts["iterations"]
        setting = Setting(self.hidden, self.candidates, self.width, self.learning_rate, self.dropout, self.batch, total)
        progress = Imitation(problem, instances, setting, rng, start if resume is None else None)
        resumed(progress, resume, self.name)
        self._progress, self.net, self.model = progress, progress.net, (model.name, model.hash)
        run(progress, total, clock, callback, TOLD)

    def solve(self, problem: Writing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The actor's answer to each sentence; without weights that of greedy decoding."""
        from sysgym.text.search import Beam, beam_search
        from sysgym_agents.decoding.actor_decode import corrected

        refuse_steering(self.name, problem)
        model, task = problem.model_of(instance), problem.task(instance)
        own = model if self.net is None else corrected(model, self._fitting(model).arrays(), self.candidates)
        beam = Beam(width=self.beam, alpha=1.0 if self.beam > 1 else 0.0)
        return answered(problem, instance, beam_search(own, task.sources, beam, max(task.limits)))

    def _fitting(self, model: TextModel) -> ActorNet:
        """The network, if it is for a model."""
        assert self.net is not None
        if self.model[1] != model.hash:
            raise UsageError(
                f"these weights of agent {self.name!r} are for the model {self.model[0]!r} ({self.model[1][:12]}), and "
                f"the sentences are for {model.name!r} ({model.hash[:12]}); train it for that model."
            )
        return self.net

    def prepare(self) -> None:
        """Import the network and the kernels."""
        super().prepare()
        import sysgym.text.catalogue
        import sysgym.text.search
        from sysgym_agents.decoding import actor_decode, actor_train

        assert actor_decode is not None and actor_train is not None and sysgym.text is not None

    def weights(self) -> Mapping[str, Any] | None:
        """Those of the actor."""
        return None if self.net is None else weights_of(self.net)

    def facts(self) -> dict[str, Any]:
        """For which model the weights are, and how long its vector is."""
        found = {"model": self.model[0], "model_hash": self.model[1]}
        return {} if self.net is None else {**found, "vector": self.net.vector}

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the actor's weights anew: they correct nothing."""
        import torch

        if self.net is None:
            return False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.net = self._empty(self.net.vector)
        return True

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
        """The actor, and for which model it is."""
        from sysgym_agents.learning.weights import filled

        name, key, vector = facts.get("model"), facts.get("model_hash"), facts.get("vector")
        if not isinstance(name, str) or not isinstance(key, str):
            raise UsageError(f"{path}/agent.json must say under 'model' and 'model_hash' for which model it is.")
        if type(vector) is not int or not 1 <= vector <= WIDEST:
            raise UsageError(f"{path}/agent.json must say under 'vector' how long the model's vector is.")
        self.model = (name, key)
        self.net = filled(lambda: self._empty(vector), weights, path)

    def _empty(self, vector: int) -> ActorNet:
        from sysgym_agents.decoding.actor_train import ActorNet

        return ActorNet(vector, self.candidates, self.hidden, self.dropout)
