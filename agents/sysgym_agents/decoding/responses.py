"""Decoders of conversation that rerank the candidates of each segment: by what they say of the message, and anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np

from sysgym.core.env import ProblemEnv
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget
from sysgym_agents.decoding.classical import Given, of_segments
from sysgym_agents.general.rules import First

if TYPE_CHECKING:
    from sysgym.text.episodes.rows import Writing
    from sysgym.text.episodes.sentences import Sentences
    from sysgym.text.segments import Rerank

    class Conversing(Writing, Protocol):
        """What rerankers ask of a problem."""

        def others(self, instance: Any) -> list[Array]: ...
        def baseline(self, instance: Any, place: int) -> Array: ...


class _Reranking(Given):
    """What both have in common."""

    problems = ("ResponseDecoding",)
    rerank: str
    q: int

    def order(self, problem: Conversing, instance: Sentences) -> Rerank:
        """How candidates are ranked."""
        from sysgym.text.segments import by_logp, by_mmi

        if self.rerank == "logp":
            return by_logp()
        return by_mmi(problem.model_of(instance), problem.others(instance)[: self.q - 1])


class StochasticRerank(_Reranking):
    """Stochastic beam search whose segments are reranked (Shao et al., EMNLP 2017): the hypothesis of the best S, log
    P(Y|X) less what Y has under other messages, is committed. An answer under `min_chars` gives way to beam search's.

    Hyper-parameters:
        width: B, hypotheses. samples: D, tokens that each samples at a step. segment: H, tokens until the reranking.
        q: messages in Phi, the one that is answered among them. rerank: by "mmi", which is S, or by "logp".
        min_chars: of an answer that stands; 0: all stand.
    """

    def __init__(
        self, *, width: Annotated[int, Range(1, 64)] = 2, samples: Annotated[int, Range(1, 1024)] = 10,
        segment: Annotated[int, Range(1, 256)] = 10, q: Annotated[int, Range(2, 15)] = 15,
        rerank: Literal["mmi", "logp"] = "mmi", min_chars: Annotated[int, Range(0, 1000)] = 40,
    ) -> None:  # fmt: skip
        self.width, self.samples, self.segment, self.q = width, samples, segment, q
        self.rerank, self.min_chars = rerank, min_chars

    def solve(self, problem: Conversing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """An answer to each message."""
        from sysgym.text.segments import Stochastic, stochastic_beams

        model, task = problem.model_of(instance), problem.task(instance)
        how = Stochastic(
            width=self.width, samples=self.samples, segment=self.segment, seed=int(rng.integers(2**62))
        )  # fmt: skip
        order = self.order(problem, instance)
        found, _ = stochastic_beams(model, task.sources, how, order, None, max(task.limits) - 1)
        short = [i for i, each in enumerate(found) if len(model.text(each.tokens)) < self.min_chars]
        for i in short:
            other = problem.baseline(instance, i)
            found[i] = found[i]._replace(tokens=other) if len(other) else found[i]
        return of_segments(problem, instance, found)


class BeamRerank(_Reranking):
    """Beam search segment by segment, the hypotheses of each reranked by S, or by log P over the length penalty.

    Hyper-parameters:
        width: hypotheses. alpha: of the length penalty within the search. q: messages in Phi. rerank: "mmi" or "logp".
    """

    def __init__(
        self, *, width: Annotated[int, Range(1, 64)] = 5, alpha: Annotated[float, Range(0, 10)] = 1.0,
        q: Annotated[int, Range(2, 15)] = 15, rerank: Literal["mmi", "logp"] = "mmi",
    ) -> None:  # fmt: skip
        self.width, self.alpha, self.q, self.rerank = width, alpha, q, rerank

    def solve(self, problem: Conversing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """An answer to each message."""
        from sysgym.text.search import Beam
        from sysgym.text.segments import segment_beams

        model, task, order = problem.model_of(instance), problem.task(instance), self.order(problem, instance)
        beam = Beam(width=self.width, alpha=self.alpha)
        found, _ = segment_beams(model, task.sources, beam, 0, max(task.limits) - 1, order)
        return of_segments(problem, instance, found)


class FreshRerank(First):
    """Plays the segments that the problem offers, each by what it adds to the part of the cost that needs no reference:
    0.3 S / 10 of the answer, and what its word pairs do to distinct-2 of the chunk. A segment with which an answer
    would end too short to stand is left where there is another one.

    Hyper-parameters:
        pairs: word pairs that an answer is taken to have.
    """

    problems = ("ResponseDecoding",)
    indivisible = "the episode"

    def __init__(self, *, pairs: Annotated[float, Range(1, 100)] = 10.0) -> None:
        self.pairs = pairs

    def choose(self, env: ProblemEnv) -> int:
        """The legal action of the largest gain."""
        dynamics, instance, state = env.dynamics, env.instance, env.state
        shown = dict(zip(dynamics.candidate_features, dynamics.candidates(instance, state, env.size)[0].T, strict=True))
        told = dict(zip(dynamics.global_features, dynamics.globals(instance, state).tolist(), strict=True))
        added = 10 * (shown["new_pairs"] - told["distinct_2"] * shown["pairs"]) / self.pairs
        gain = 0.3 * 5 * shown["s"] / 10 + 0.2 * added
        legal = dynamics.mask(instance, state, env.size) != 0
        standing = legal & (shown["backs_off"] == 0)
        return int(np.where(standing if standing.any() else legal, gain, -np.inf).argmax())
