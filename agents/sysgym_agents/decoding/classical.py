"""Classical decoders: beam search, sampling, and minimum Bayes risk. None of them looks at a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.core import Budget

if TYPE_CHECKING:
    from sysgym.text.episodes.rows import Writing
    from sysgym.text.episodes.sentences import Sentences
    from sysgym.text.hypotheses import Hypotheses
    from sysgym.text.model import TextModel
    from sysgym.text.segments import Written

TRANSLATION = ("NMTDecoding",)
DECODING = (*TRANSLATION, "ResponseDecoding")
STEERED = ("beam", "width")  # modes in which the answers are a search's


class Given:
    """What all have in common: one answer, which a budget does not cut."""

    problems: tuple[str, ...] = DECODING
    step = ""
    indivisible = "the whole answer"

    def prepare(self) -> None:
        """Load the kernels and what reads vocabularies."""
        import sysgym.text.catalogue
        import sysgym.text.sampling
        import sysgym.text.search  # noqa: F401


def usable(model: TextModel, answer: Array, limit: int, ranked: bool) -> bool:
    """Whether an answer may stand: where log P ranks it is not empty, within the limit, and of real tokens."""
    return not ranked or (0 < len(answer) < limit and not np.isin(answer, model.unwritten).any())


def refuse_steering(name: str, problem: Writing) -> None:
    """UsageError where the search is to be steered, which an agent does not do."""
    if problem.mode in STEERED:
        raise UsageError(
            f"agent {name!r} writes answers itself, and mode {problem.mode!r} steers a search; use 'beam'."
        )


def answered(problem: Writing, instance: Sentences, found: Hypotheses, places: Array | None = None) -> Solution:
    """The solution of one hypothesis a sentence: the best one that may stand, or that of `places` (S,)."""
    model, task = problem.model_of(instance), problem.task(instance)
    ranked, answers = task.score is None, list[Array]()
    for sentence, limit in enumerate(task.limits):
        order = range(found.lengths.shape[1]) if places is None else [int(places[sentence])]
        there = [found.best(sentence, place) for place in order if found.scores[sentence, place] > -np.inf]
        good = [each for each in there if usable(model, each, limit, ranked)]
        answers.append(good[0] if good else _mended(model, there[0], limit, ranked))
    return problem.answer(instance, [model.text(each) for each in answers], answers)


def _mended(model: TextModel, answer: Array, limit: int, ranked: bool) -> Array:
    """An answer cut to what may stand; an empty one becomes the first token that may."""
    if not ranked:
        return answer
    kept = answer[~np.isin(answer, model.unwritten)][: limit - 1]
    other = np.setdiff1d(np.arange(model.vocabulary), [*model.unwritten, model.special.end])
    return kept if len(kept) else other[:1]


def of_segments(problem: Writing, instance: Sentences, found: Sequence[Written]) -> Solution:
    """The solution of answers that were written segment by segment."""
    from sysgym.text.episodes.ranked import fitted

    model, task, answers = problem.model_of(instance), problem.task(instance), list[Array]()
    for each, limit in zip(found, task.limits, strict=True):
        answers.append(fitted(model, _mended(model, each.tokens, limit, task.score is None), limit))
    return problem.answer(instance, [model.text(each) for each in answers], answers)


class Beam(Given):
    """Beam search by length-normalised log P. `wu` normalises at every step by ((5 + |Y|) / 6)^alpha (Wu et al. 2016),
    as tf-seq2seq does, with a coverage penalty `beta`; `length` ranks ended hypotheses by log P / length^alpha, as
    CTranslate2 does. A width of 1 is greedy decoding. A model with segments is searched segment by segment, the best
    hypothesis of each being the prefix of the next (Shao et al. 2017, their baseline).
    """

    def __init__(
        self, *, width: Annotated[int, Range(1, 256)] = 5, alpha: Annotated[float, Range(0, 10)] = 1.0,
        beta: Annotated[float, Range(0, 10)] = 0.0, convention: Literal["wu", "length"] = "wu",
    ) -> None:  # fmt: skip
        self.width, self.alpha, self.beta, self.convention = width, alpha, beta, convention

    def solve(self, problem: Writing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best hypothesis of each sentence."""
        from sysgym.text import search

        if problem.mode in STEERED:
            return problem.steered(instance, self.width, self.alpha)
        beam = search.Beam(width=self.width, alpha=self.alpha, beta=self.beta, convention=self.convention)
        task, model = problem.task(instance), problem.model_of(instance)
        if model.special.segment:
            from sysgym.text.segments import segment_beams

            return of_segments(problem, instance, segment_beams(model, task.sources, beam, 0, max(task.limits) - 1)[0])
        return answered(problem, instance, search.beam_search(model, task.sources, beam, max(task.limits)))


class Sampling(Given):
    """Ancestral sampling from the network, tempered, or among its `top` next tokens; of several samples that of
    greatest length-normalised log P stays.
    """

    def __init__(
        self, *, samples: Annotated[int, Range(1, 1000)] = 1, temperature: Annotated[float, Range(1e-3, 100)] = 1.0,
        top: Annotated[int, Range(0, 10**6)] = 0,
    ) -> None:  # fmt: skip
        self.samples, self.temperature, self.top = samples, temperature, top

    def solve(self, problem: Writing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best sample of each sentence."""
        refuse_steering("sampling", problem)
        if problem.model_of(instance).special.segment:
            return self.by_segments(problem, instance, rng)
        found = self.drawn(problem, instance, rng)
        scores = np.where(found.scores > -np.inf, found.logp / (found.lengths + 1.0), -np.inf)
        return answered(problem, instance, found, scores.argmax(axis=1))

    def drawn(self, problem: Writing, instance: Sentences, rng: np.random.Generator) -> Hypotheses:
        """All samples, (S, samples)."""
        from sysgym.text.hypotheses import Hypotheses
        from sysgym.text.sampling import Draw, sample

        task, model = problem.task(instance), problem.model_of(instance)
        draw = Draw(seed=int(rng.integers(2**62)), temperature=self.temperature, top=self.top)
        many, count = len(task.sources), self.samples
        sources = [source for source in task.sources for _ in range(count)]
        flat = sample(model, sources, draw, np.arange(many * count), max(task.limits))
        tokens, lengths, logp, scores, ended = (part.reshape(many, count, *part.shape[2:]) for part in flat[:5])
        return Hypotheses(tokens, lengths, logp, scores, ended, flat.forwards.reshape(many, count).sum(axis=1))

    def by_segments(self, problem: Writing, instance: Sentences, rng: np.random.Generator) -> Solution:
        """The best sample of each sentence of a model with segments."""
        from sysgym.text.episodes.whole import sampled_segments
        from sysgym.text.sampling import Draw

        task, model, count = problem.task(instance), problem.model_of(instance), self.samples
        draw = Draw(seed=int(rng.integers(2**62)), temperature=self.temperature, top=self.top)
        sources = [source for source in task.sources for _ in range(count)]
        found = sampled_segments(model, sources, draw, max(task.limits) - 1)
        scores = np.array([each.logp / (len(each.tokens) + 1.0) for each in found]).reshape(-1, count)
        return of_segments(problem, instance, [found[i * count + int(k)] for i, k in enumerate(scores.argmax(axis=1))])


class StochasticBeam(Given):
    """Stochastic beam search (Shao et al., EMNLP 2017): each of `width` hypotheses samples `samples` different tokens a
    step, as many of all of these are drawn again, and every `segment` tokens the hypothesis of greatest
    length-normalised log P is committed.
    """

    problems = TRANSLATION

    def __init__(
        self, *, width: Annotated[int, Range(1, 64)] = 2, samples: Annotated[int, Range(1, 1024)] = 10,
        segment: Annotated[int, Range(1, 256)] = 10, alpha: Annotated[float, Range(0, 10)] = 1.0,
    ) -> None:  # fmt: skip
        self.width, self.samples, self.segment, self.alpha = width, samples, segment, alpha

    def solve(self, problem: Writing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """An answer to each sentence."""
        from sysgym.text.segments import Stochastic, by_logp, stochastic_beams

        refuse_steering("stochastic-beam", problem)
        model, task = problem.model_of(instance), problem.task(instance)
        how = Stochastic(
            width=self.width, samples=self.samples, segment=self.segment, seed=int(rng.integers(2**62))
        )  # fmt: skip
        found, _ = stochastic_beams(model, task.sources, how, by_logp(self.alpha), None, max(task.limits))
        return of_segments(problem, instance, found)


class MBR(Given):
    """Minimum Bayes risk: of the hypotheses of a beam the one whose expected chrF2 (or BLEU) is greatest when each of
    the others is the reference, weighted by P or all alike (Kumar and Byrne 2004).
    """

    problems = TRANSLATION

    def __init__(
        self, *, width: Annotated[int, Range(2, 256)] = 10, gain: Literal["chrf", "bleu"] = "bleu",
        weighted: bool = True,
    ) -> None:  # fmt: skip
        self.width, self.gain, self.weighted = width, gain, weighted

    def solve(self, problem: Writing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The hypothesis of least risk of each sentence."""
        from sysgym.text import search
        from sysgym.text.metrics import least_risk

        refuse_steering("mbr", problem)
        task, model = problem.task(instance), problem.model_of(instance)
        found = search.beam_search(model, task.sources, search.Beam(width=self.width), max(task.limits))
        places = np.zeros(len(task.sources), np.int64)
        for sentence, limit in enumerate(task.limits):
            there = [place for place in range(self.width) if found.scores[sentence, place] > -np.inf
                     and usable(model, found.best(sentence, place), limit, task.score is None)]  # fmt: skip
            if there:
                logp = found.logp[sentence, there]
                weights = np.exp(logp - logp.max())
                texts = [model.text(found.best(sentence, place)) for place in there]
                shares = weights / weights.sum() if self.weighted else None
                places[sentence] = there[least_risk(texts, shares, self.gain == "bleu")]
        return answered(problem, instance, found, places)
