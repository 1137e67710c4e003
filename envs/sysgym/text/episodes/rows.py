"""Hypotheses of many episodes side by side: one forward pass of the network steps all of them.

A single environment's state is one such row. What the network knows of a hypothesis, its recurrent states or cached
keys and values, is carried from step to step; nothing is computed twice. A row whose next sentence is not encoded yet
is `pending`: all pending rows are encoded together when something is asked of them, or with the next step.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from sysgym.core.problem import Array, Solution
from sysgym.text.episodes.chunk import COUNTS, ChunkScore
from sysgym.text.episodes.token_kernels import with_end
from sysgym.text.hypotheses import top_tokens
from sysgym.text.memory_bank import MemoryBank
from sysgym.text.model import TextModel
from sysgym.text.models.interface import State


class Task(NamedTuple):
    """What an instance asks for, as rows need it; made once an instance."""

    sources: Sequence[Array]  # token ids of each sentence
    limits: Sequence[int]  # most tokens of each answer, its end among them
    score: ChunkScore | None  # None: an answer is worth its log-probability


class Rules(Protocol):
    """What a problem says of its instances."""

    def task(self, instance: Any) -> Task: ...


class Writing(Rules, Protocol):
    """What an agent that writes whole answers asks of a problem."""

    mode: str

    def model_of(self, instance: Any) -> TextModel: ...
    def steered(self, instance: Any, width: int, alpha: float) -> Solution: ...
    def answer(self, instance: Any, texts: list[str], tokens: list[Array] | None = None) -> Solution: ...


GROWING = ("tokens", "coverage", "attention")  # as wide as the longest row yet


class Rows:
    """N episodes; arrays have N rows."""

    def __init__(self, bank: MemoryBank, rules: Rules, count: int, choices: int) -> None:
        self.bank, self.model, self.rules, self.choices = bank, bank.model, rules, choices
        self.instances: list[Any] = [None] * count
        self.answers: list[list[Array]] = [[] for _ in range(count)]  # tokens of the sentences that are over
        self.texts: list[list[str]] = [[] for _ in range(count)]
        self.read: list[Array] = [np.array([bank.model.special.end])] * count  # what the encoder reads
        self.network: State | None = None
        self.sentence, self.steps, self.length, self.limit, self.source = np.zeros((5, count), np.int64)
        self.total, self.last, self.cost = np.zeros((3, count))  # log P of the sentence, of its last token; cost
        self.sums = np.zeros((count, COUNTS), np.int64)  # of the sentences, as `ChunkScore` counts
        self.stopped, self.pending = np.zeros((2, count), bool)
        self.ranked = np.zeros(count, bool)  # whether answers are worth their log-probability
        self.next = np.full((count, choices), -1, np.int64)  # candidates
        self.next_logp = np.zeros((count, choices))
        self.tokens = np.zeros((count, 0), np.int64)  # of the sentence under way
        self.coverage, self.attention = np.zeros((2, count, 0), np.float32)

    ARRAYS = ("sentence", "steps", "length", "limit", "source", "total", "last", "cost", "sums", "stopped", "pending",
              "ranked", "next", "next_logp", *GROWING)  # fmt: skip

    def begin(self, row: int, instance: Any) -> None:
        """A new episode in a row."""
        task = self.rules.task(instance)
        self.instances[row], self.answers[row], self.texts[row] = instance, [], []
        self.sentence[row], self.stopped[row], self.ranked[row] = 0, False, task.score is None
        self.sums[row], self.cost[row] = (0, 0.0) if task.score is None else task.score.nothing
        self._expect(row, task)

    def _expect(self, row: int, task: Task) -> None:
        """The next sentence of a row is at its beginning, not encoded yet."""
        place = int(self.sentence[row])
        self.limit[row] = task.limits[place]
        self.read[row] = self.model.read(task.sources[place])
        self.source[row] = len(self.read[row])
        self.steps[row] = self.length[row] = 0
        self.total[row] = self.last[row] = 0.0
        self._widen(tokens=task.limits[place], coverage=int(self.source[row]), attention=int(self.source[row]))
        self.coverage[row] = self.attention[row] = 0.0
        self.pending[row] = True

    def _widen(self, **wanted: int) -> None:
        for name, width in wanted.items():
            found = getattr(self, name)
            if found.shape[1] < width:
                wider = np.zeros((len(found), width), found.dtype)
                wider[:, : found.shape[1]] = found
                setattr(self, name, wider)

    def play(self, actions: Array, live: Array) -> None:
        """The live rows take a candidate each, (N,) int64; then all that go on, and all that begin, are stepped."""
        at = np.flatnonzero(live)
        chosen = self.next[at, actions[at]]
        self.last[at] = self.next_logp[at, actions[at]]
        self.total[at] += self.last[at]
        self.steps[at] += 1
        ends = chosen == self.model.special.end
        on = at[~ends]
        self.tokens[on, self.length[on]] = chosen[~ends]
        self.length[on] += 1
        over = ends | (self.steps[at] >= self.limit[at])
        for row, ended in zip(at[over].tolist(), ends[over].tolist(), strict=True):
            self._finish(row, ended)
        going = np.zeros(len(live), bool)
        going[at[~over]] = True
        tokens = np.full(len(live), self.model.special.begin, np.int64)
        tokens[at] = chosen
        self._forward(going, tokens)

    def _finish(self, row: int, ended: bool) -> None:
        """A sentence is over: its score counts, and the next one is expected."""
        task, place = self.rules.task(self.instances[row]), int(self.sentence[row])
        answer = self.tokens[row, : self.length[row]].copy()
        self.answers[row].append(answer)
        text = self.model.text(answer)
        self.texts[row].append(text)
        if task.score is not None:
            self.sums[row] += task.score.of(place, text) - task.score.of(place, "")
            self.cost[row] = task.score.cost(self.sums[row])
        else:
            self.cost[row] += -self.total[row] / (len(answer) + ended) / len(task.sources)
        self.sentence[row] += 1
        if place + 1 < len(task.sources):
            self._expect(row, task)
        else:
            self.stopped[row] = True
            self.next[row] = -1
            self.attention[row] = 0.0
            self.steps[row] = self.length[row] = 0

    def ready(self) -> Self:
        """Encode what is pending, so that every row has its candidates."""
        if self.pending.any():
            self._forward(np.zeros(len(self.pending), bool), np.full(len(self.pending), self.model.special.begin))
        return self

    def _forward(self, going: Array, tokens: Array) -> None:
        """One step of the network for the rows that go on and those that begin."""
        active = going | self.pending
        if not active.any():
            return
        source = self.bank.rows(self.read)
        if self.pending.any():
            tokens[self.pending] = self.model.special.begin
            self._fresh(np.flatnonzero(self.pending), source)
            self.pending[:] = False
        assert self.network is not None
        rows = np.flatnonzero(active)
        whole = bool((active | self.stopped).all())  # what a row holds that is over is nobody's
        state = self.network if whole else self.network.take(rows)
        at = slice(None) if whole else rows
        logp, attention, after = self.model.network.step(
            self.bank.memory, state._replace(source=source[at]), tokens[at]
        )
        if whole:
            position = np.where(active, after.position, 0)
            self.network = after._replace(position=position, filled=position.copy())
            logp, attention = (logp, attention) if len(rows) == len(active) else (logp[rows], attention[rows])
        else:
            self.network = placed(self.network, after, rows)
        wide = min(attention.shape[1], self.attention.shape[1])
        self.attention[rows, :wide] = attention[:, :wide]
        self.coverage[rows] += self.attention[rows]
        self._candidates(rows, logp)

    def _candidates(self, rows: Array, logp: Array) -> None:
        """The candidates of rows, given all log-probabilities (R, V)."""
        ranked, steps = self.ranked[rows], self.steps[rows]
        first, last = ranked & (steps == 0), ranked & (steps + 1 >= self.limit[rows])
        self.next[rows], self.next_logp[rows] = next_tokens(self.model, logp, self.choices, first, last)

    def _fresh(self, rows: Array, source: Array) -> None:
        """Put fresh hypotheses into rows."""
        state = self.model.network.start(self.bank.memory, source[rows])
        if self.network is None:
            self.network = blank(state, len(self.pending))
        self.network = placed(self.network, state, rows)

    def take(self, row: int) -> Self:
        """One row by itself."""
        found = copying.copy(self)
        found.instances, found.answers, found.texts = (
            [self.instances[row]], [list(self.answers[row])], [list(self.texts[row])],
        )  # fmt: skip
        for name in self.ARRAYS:
            setattr(found, name, getattr(self, name)[row : row + 1].copy())
        found.read = [self.read[row]]
        if self.network is not None:
            found.network = self.network.take(np.array([row]))
        return found

    def put(self, row: int, other: Rows) -> None:
        """Let a row be what the only row of another is."""
        self.instances[row], self.answers[row], self.texts[row] = (
            other.instances[0], list(other.answers[0]), list(other.texts[0]),
        )  # fmt: skip
        self._widen(**{name: getattr(other, name).shape[1] for name in GROWING})
        for name in self.ARRAYS:
            target, value = getattr(self, name), getattr(other, name)
            target[row] = 0
            target[(row, slice(value.shape[1])) if value.ndim == 2 else row] = value[0]
        self.read[row] = other.read[0]
        if other.pending[0] or other.stopped[0] or other.network is None:
            return
        if self.network is None:
            self.network = blank(other.network, len(self.pending))
        self.network = placed(self.network, other.network, np.array([row]))


def next_tokens(model: TextModel, logp: Array, count: int, first: Array, last: Array) -> tuple[Array, Array]:
    """The `count` most probable next tokens of each row, the end among them, and their log-probabilities, (R, count)
    each, given all (R, V), which are written over; -1 where there is no candidate. An answer that is worth its
    log-probability has a token at least, and an end: where it is `first` (R,) the end is none, where it is `last`
    nothing else is.
    """
    end, may_end = model.special.end, ~first | last
    of_end = logp[:, end].astype(np.float64)
    logp[:, model.unwritten] = -np.inf
    logp[~may_end, end] = -np.inf
    tokens, found = top_tokens(logp, count)
    found = found.astype(np.float64)
    with_end(of_end, end, tokens, found, may_end)
    tokens[last[:, None] & (tokens != end)] = -1
    return tokens, np.maximum(found, -1e3)


def blank(state: State, count: int) -> State:
    """Room for `count` hypotheses like those given."""
    return State(*(np.zeros((count, *part.shape[1:]), part.dtype) for part in state))


def placed(whole: State, part: State, rows: Array) -> State:
    """Hypotheses with some of their rows replaced."""
    extra = part.cache.shape[1] - whole.cache.shape[1]
    if extra > 0:
        whole = whole._replace(cache=np.pad(whole.cache, ((0, 0), (0, extra), (0, 0))))
    whole.cache[rows, : part.cache.shape[1]] = part.cache
    whole.position[rows] = whole.filled[rows] = part.position
    whole.hidden[rows], whole.output[rows] = part.hidden, part.output
    return whole
