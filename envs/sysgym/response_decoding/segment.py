"""The segment mode: an answer is written segment by segment, each one of a set of candidates that is drawn for it.

Candidates stand by S of the answer so far with them, so that always the first action is Shao's reranking of the same
candidates; the last action stops. An answer that ends shorter than `min_chars` gives way to the beam search's.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.response_decoding.drawn import Asked, Drawn, Sampler, draw
from sysgym.response_decoding.features import CANDIDATE_FEATURES, GLOBAL_FEATURES, Shown, candidate_rows, global_row
from sysgym.response_decoding.instance import Messages
from sysgym.response_decoding.worth import LEAST, chunk_cost, information, likelihoods, remember
from sysgym.text.episodes.ranked import fitted
from sysgym.text.episodes.rows import Task
from sysgym.text.episodes.tokens import answer_arrays
from sysgym.text.model import NONE, TextModel
from sysgym.text.scoring import score
from sysgym.text.search import Beam
from sysgym.text.segments import Stochastic, segment_beams

BASELINE = Beam(width=5, alpha=1.0)
KEPT = 2**14
_beams: OrderedDict[tuple[str, int, bytes], Array] = OrderedDict()  # of this process: answers of BASELINE


@dataclass
class State:
    """An episode: answers that are over, and the one under way."""

    answers: list[Array]  # token ids of each
    texts: list[str]
    s: list[float]  # S of each
    cost: float
    written: Array  # (t,) int64
    under: Array  # (Q,) float64, log P of it under each source of Phi
    shown: Shown  # what is written as text
    segments: int = 0
    drawn: Drawn | None = None  # made when it is asked for


class SegmentProblem(Protocol):
    """What the mode asks of its problem."""

    n_cand: int
    min_chars: int
    seed: int

    @property
    def text_model(self) -> TextModel: ...
    def model_of(self, instance: Any) -> TextModel: ...
    def task(self, instance: Any) -> Task: ...
    def samples(self, instance: Any) -> list[list[Array]]: ...


def baseline(model: TextModel, source: Array, limit: int) -> Array:
    """Token ids of what beam search answers, segment by segment (beam 5, length penalty 1.0)."""
    key = model.hash, limit, source.tobytes()
    if key not in _beams:
        found, _ = segment_beams(model, [source], BASELINE, max_length=limit - 1)
        _beams[key] = fitted(model, found[0].tokens, limit)
        if len(_beams) > KEPT:
            _beams.popitem(last=False)
    return _beams[key]


@complete
class Segments:
    """Commit one of the candidates for the next segment, or stop."""

    node_features: tuple[str, ...] = ()
    global_features = GLOBAL_FEATURES
    candidate_features = CANDIDATE_FEATURES

    def __init__(self, problem: SegmentProblem) -> None:
        self.problem, self.model = problem, problem.text_model
        segment = self.model.special.segment or 10
        self.how = Sampler(problem.n_cand, Stochastic(segment=segment, seed=problem.seed))

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A candidate, or to stop."""
        return spaces.Discrete(self.problem.n_cand + 1)

    def start(self, instance: Messages, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Nothing is written; a starting solution is refused."""
        if solution is not None:
            raise UsageError("mode 'segment' writes from nothing; it takes no starting solution.")
        if (own := self.problem.model_of(instance)) is not self.model:
            raise UsageError(
                f"{instance.name} is for the model {own.name}, and this environment has {self.model.name}: give "
                f"model={own.name}."
            )
        task = self.problem.task(instance)
        none = [LEAST] * len(instance)
        cost = 0.0 if task.score is None else chunk_cost(task.score, [""] * len(instance), none)
        return self._next(instance, State([], [], [], cost, NONE, NONE, Shown.of("", [])))

    def _next(self, instance: Messages, state: State) -> State:
        """Begin the next answer."""
        state.written, state.segments, state.drawn = NONE, 0, None
        if len(state.texts) < len(instance):
            state.under = np.zeros(len(self.problem.samples(instance)[len(state.texts)]))
        state.shown = Shown.of("", state.texts)
        return state

    def offers(self, instance: Messages, state: State) -> Drawn:
        """The candidates of a state that is not over."""
        if state.drawn is None:
            place, task = len(state.texts), self.problem.task(instance)
            room = task.limits[place] - 1 - len(state.written)
            asked = Asked(self.problem.samples(instance)[place], place, state.written, state.under, room)
            state.drawn = draw(self.model, asked, self.how)
        return state.drawn

    def step(self, instance: Messages, state: State, action: Any) -> State:
        """Write a segment."""
        drawn, task = self.offers(instance, state), self.problem.task(instance)
        at = self._row(drawn, int(action))
        state.written, state.under = np.concatenate([state.written, drawn.parts[at]]), drawn.under[at]
        state.segments, state.drawn = state.segments + 1, None
        if drawn.ended[at]:
            remember(self.model, self.problem.samples(instance)[len(state.texts)], state.written, state.under)
        if drawn.ended[at] or len(state.written) >= task.limits[len(state.texts)] - 1:
            return self._finish(instance, state, task)
        state.shown = Shown.of(self.model.text(state.written), state.texts)
        return state

    def _row(self, drawn: Drawn, action: int) -> int:
        """The row of an action among what is drawn; the last one stops."""
        return len(drawn.parts) - 1 if action == self.problem.n_cand else action

    def _finish(self, instance: Messages, state: State, task: Task) -> State:
        """An answer is over: its worth counts, and the next one begins."""
        place, model = len(state.texts), self.model
        tokens = fitted(model, state.written, task.limits[place])
        if len(model.text(tokens)) < self.problem.min_chars:
            other = baseline(model, task.sources[place], task.limits[place])
            tokens = other if len(other) else tokens
        text = model.text(tokens)
        state.answers.append(tokens)
        state.texts.append(text)
        if task.score is None:
            logp = score(model, [task.sources[place]], [tokens])[0]
            state.cost += -float(logp) / (len(tokens) + 1) / len(instance)
        else:
            state.s.append(information(text, likelihoods(model, [(self.problem.samples(instance)[place], text)])[0]))
            rest = len(instance) - len(state.texts)
            state.cost = chunk_cost(task.score, [*state.texts, *[""] * rest], [*state.s, *[LEAST] * rest])
        return self._next(instance, state)

    def done(self, instance: Messages, state: State) -> bool:
        """Whether every message has its answer."""
        return len(state.texts) == len(instance)

    def copy(self, state: State) -> State:
        """A fork."""
        return replace(state, answers=list(state.answers), texts=list(state.texts), s=list(state.s))

    def cost(self, instance: Messages, state: State) -> float:
        """What the answers that are over come to, the others being empty."""
        return state.cost

    def scale(self, instance: Messages, state: State) -> float:
        """Scores are percentages; a log-probability a token is what it is."""
        return 1.0 if self.problem.task(instance).score is None else 100.0

    def solution(self, instance: Messages, state: State) -> Solution:
        """What is written so far; answers not begun are empty."""
        answers, texts, task = list(state.answers), list(state.texts), self.problem.task(instance)
        if len(state.written):
            answers.append(fitted(self.model, state.written, task.limits[len(texts)]))
            texts.append(self.model.text(answers[-1]))
        texts += [""] * (len(instance) - len(texts))
        return answer_arrays(self.model, task, texts, answers)

    def mask(self, instance: Messages, state: State, size: Size) -> Array:
        """Candidates that there are, and stopping once something is written, (n + 1,) int8; action 0 at the end."""
        mask = np.zeros(self.problem.n_cand + 1, np.int8)
        if not self.done(instance, state):
            drawn, empty = self.offers(instance, state), len(state.written) == 0
            mask[: len(drawn.parts) - 1] = 1
            mask[-1] = not empty
            if empty and self.problem.task(instance).score is None:  # log P would rather have nothing said
                mask[: len(drawn.parts) - 1] = [len(part) > 0 for part in drawn.parts[:-1]]
        mask[0] |= not mask.any()
        return mask

    def globals(self, instance: Messages, state: State) -> Array:
        """How far the answer and the episode are, columns GLOBAL_FEATURES, float32."""
        place, task = len(state.texts), self.problem.task(instance)
        length = len(task.sources[place]) if place < len(instance) else 0
        return global_row(state.shown, state.segments, length, (place, len(instance)))

    def candidates(self, instance: Messages, state: State, size: Size) -> tuple[Array, Array]:
        """Features of each candidate, columns CANDIDATE_FEATURES, float32; no position in particular."""
        count = self.problem.n_cand + 1
        found = np.zeros((count, len(CANDIDATE_FEATURES)), np.float32)
        if not self.done(instance, state):
            drawn = self.offers(instance, state)
            texts = [self.model.text(np.concatenate([state.written, part])) for part in drawn.parts]
            message = instance.sources[len(state.texts)]
            rows = candidate_rows(drawn, texts, state.shown, message, self.problem.min_chars)
            found[: len(rows) - 1], found[-1] = rows[:-1], rows[-1]
        return found, np.full(count, -1, np.int32)
