"""The width mode: how many hypotheses of a beam go on, step by step, for a price of forward passes.

A step of the search leaves up to `k` hypotheses of the sentence, best first; the action keeps the first of them. What
is dropped costs no forward pass. Judging replays the widths. Scores are log P over the length penalty of Wu et al.
(2016) with alpha 1; always k is a beam search, and a constant one that of its width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.text.episodes.rows import Task
from sysgym.text.episodes.sentences import arrays_of
from sysgym.text.hypotheses import ROWS, Begin, Trail
from sysgym.text.model import TextModel
from sysgym.text.search import Beam, WuSearch

ABOUT = ("there", "gap", "gap_before", "share", "ended", "last_log_p", "sibling", "rank", "shorter")
"""Of a hypothesis: whether there is one, score below the best and below the one before, share of the probability of
all, whether it has ended, log P of its last token, whether the best has the same parent, its place over k, and tokens
fewer than the best."""
STEP = ("step_of_limit", "step_of_source", "ended", "score", "log_p")
MOST = 10.0  # features stay within


class Asked(NamedTuple):
    """A search that is asked how to go on."""

    search: WuSearch
    rows: Array  # (S,) its sentences
    limits: Array  # (S,) most tokens of each
    read: Array  # (S,) positions that the encoder reads of each


Decide = Callable[[Asked], Array]  # the widths (S,) of the next step


def about_slots(search: WuSearch) -> Array:
    """Columns ABOUT of the hypotheses of a search, (S, k, 9) float32; 0 where there is none."""
    scores, total, there = search.scores, search.slots.total, search.scores > -np.inf
    width = scores.shape[1]
    gap = np.where(there, scores[:, :1] - np.where(there, scores, 0.0), 0.0)
    share = np.where(there, np.exp(np.where(there, total, 0.0) - total.max(axis=1, initial=-1e9)[:, None]), 0.0)
    parents, ended = search.slots.parents[-1], search.slots.row < 0
    before = search.slots.totals[-2] if len(search.slots.totals) > 1 else np.zeros_like(total)
    last = np.where(there, total, 0.0) - np.where(there, np.take_along_axis(before, parents, axis=1), 0.0)
    columns = [
        there, gap, np.diff(gap, axis=1, prepend=0.0) * there, share / share.sum(axis=1, keepdims=True), ended, last,
        parents == parents[:, :1], np.tile(np.arange(width) / width, (len(scores), 1)),
        (search.length[:, :1] - search.length) / 10,
    ]  # fmt: skip
    found = np.stack([np.clip(each, -MOST, MOST) for each in columns], axis=2) * there[:, :, None]
    return found.astype(np.float32)


def about_step(search: WuSearch, limits: Array, read: Array) -> Array:
    """Columns STEP of the sentences of a search, (S, 5) float32."""
    ended = ((search.slots.row < 0) & (search.scores > -np.inf)).mean(axis=1)
    best, total = search.scores[:, 0], search.slots.total[:, 0]
    columns = [search.steps / limits, search.steps / read, ended, np.maximum(best, -MOST), np.maximum(total, -100) / 10]
    return np.stack(np.broadcast_arrays(*columns), axis=1).astype(np.float32)


class Narrowed(NamedTuple):
    """What searches of changing width find."""

    texts: list[str]
    widths: Array  # (n, T) int64, zeros behind the steps of a sentence
    forwards: Array  # (n,) int64


def narrow(model: TextModel, task: Task, k: int, decide: Decide) -> Narrowed:
    """Search for the answers of all sentences, as many hypotheses going on as `decide` says."""
    order = np.argsort([len(source) for source in task.sources], kind="stable")
    limits = np.array(task.limits)
    texts, widths = [""] * len(limits), np.zeros((len(limits), int(limits.max())), np.int64)
    forwards = np.zeros(len(limits), np.int64)
    many = max(1, ROWS // k)
    for first in range(0, len(order), many):
        rows = order[first : first + many]
        search = begin(model, [task.sources[i] for i in rows], k)
        asked = Asked(search, rows, limits[rows], np.array([len(model.read(task.sources[i])) for i in rows]))
        _close(search, limits[rows])
        while len(live := search.slots.live):
            counts = np.full(len(rows), k)
            counts[live] = np.clip(decide(asked)[live], 1, k)
            widths[rows[live], search.steps - 1] = counts[live]
            search.keep(counts)
            if len(search.slots.live):
                search.step(model)
                _close(search, limits[rows])
        found = search.results()
        for place, row in enumerate(rows.tolist()):
            texts[row] = model.text(found.best(place))
        forwards[rows] = found.forwards
    return Narrowed(texts, widths, forwards)


def begin(model: TextModel, sources: Sequence[Array], k: int) -> WuSearch:
    """A search behind its first step, in which there is nothing to decide."""
    search = WuSearch(Begin(*model.begin(sources)), Beam(width=k, alpha=1.0), model.special.end)
    search.step(model)
    return search


def _close(search: WuSearch, limits: Array) -> None:
    """Let no hypothesis go on where the limit (S,) is reached."""
    search.slots.row[search.steps >= limits] = -1


Key = tuple[str, int, bytes, int, bytes]  # hash of the model, k, source, limit, widths
_known: OrderedDict[Key, tuple[str, Array, int]] = OrderedDict()  # of this process; what is searched again is the same
KEPT = 2**14


def _key(model: TextModel, task: Task, place: int, k: int, widths: Array) -> Key:
    return model.hash, k, task.sources[place].tobytes(), task.limits[place], np.trim_zeros(widths, "b").tobytes()


def replay(model: TextModel, task: Task, k: int, widths: Array) -> Narrowed:
    """What searches of given widths (n, T) int64 find; where there is none it is 1."""
    keys = [_key(model, task, i, k, row) for i, row in enumerate(widths)]
    found = {key: _known[key] for key in keys if key in _known}
    new = [i for i, key in enumerate(keys) if key not in found]
    if new:
        part = Task([task.sources[i] for i in new], [task.limits[i] for i in new], task.score)
        given = widths[new]
        made = narrow(model, part, k, lambda asked: np.maximum(given[asked.rows, asked.search.steps - 1], 1))
        for row, i in enumerate(new):
            found[keys[i]] = made.texts[row], made.widths[row], int(made.forwards[row])
            _remember(keys[i], *found[keys[i]])
    used = np.zeros_like(widths)
    for i, key in enumerate(keys):
        used[i, : len(found[key][1])] = found[key][1]
    return Narrowed([found[key][0] for key in keys], used, np.array([found[key][2] for key in keys]))


def _remember(key: Key, text: str, widths: Array, forwards: int) -> None:
    _known[key] = text, np.trim_zeros(widths, "b").copy(), forwards
    while len(_known) > KEPT:
        _known.popitem(last=False)


def narrowed_arrays(found: Narrowed) -> Solution:
    """The solution of searches."""
    text, ends = arrays_of(found.texts)
    return {"text": text.astype(np.int64), "ends": ends, "widths": found.widths}


@dataclass
class State:
    """The sentences that are over, and the search for the next one."""

    search: WuSearch | None
    widths: list[list[int]]  # of the sentences begun
    texts: list[str]
    sums: Array  # of the sentences that are over, as `ChunkScore` counts
    forwards: int  # of those too
    cost: float


class Narrowing(Protocol):
    """What the mode asks of its problem, and agents that choose widths."""

    mode: str
    k: int

    def model_of(self, instance: Any) -> TextModel: ...
    def task(self, instance: Any) -> Task: ...
    def price(self, instance: Any, forwards: int) -> float: ...
    def replay(self, instance: Any, widths: Array) -> Narrowed: ...
    def narrowed(self, instance: Any, decide: Decide) -> Solution: ...


@complete
class Widths:
    """Choose how many hypotheses go on, step by step, one sentence after the other."""

    node_features: tuple[str, ...] = ()
    global_features = (*STEP, "sentences_done", "progress")
    candidate_features = (*ABOUT, *(f"next_{name}" for name in ABOUT), "width", "going_on", "share_kept")

    def __init__(self, problem: Narrowing) -> None:
        self.problem = problem

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """One hypothesis less than go on."""
        return spaces.Discrete(self.problem.k)

    def start(self, instance: Any, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Nothing is searched for; a starting solution is refused."""
        if solution is not None:
            raise UsageError("mode 'width' decides from nothing; it takes no starting solution.")
        sums, cost = _scored(self.problem.task(instance), instance.name).nothing
        return self._next(instance, State(None, [], [], sums.copy(), 0, cost))

    def _next(self, instance: Any, state: State) -> State:
        """Begin the next sentence in which there is something to decide, if there is one."""
        model, task = self.problem.model_of(instance), self.problem.task(instance)
        while state.search is None and len(state.texts) < len(instance):
            place = len(state.texts)
            state.search = begin(model, [task.sources[place]], self.problem.k)
            state.widths.append([])
            self._settle(instance, state)
        return state

    def _settle(self, instance: Any, state: State) -> None:
        """Count the sentence if its search is over."""
        task, place, search = self.problem.task(instance), len(state.texts), state.search
        assert search is not None
        _close(search, np.array([task.limits[place]]))
        if len(search.slots.live):
            return
        found, score = search.results(), _scored(task, instance.name)
        model, forwards = self.problem.model_of(instance), int(found.forwards[0])
        state.texts.append(model.text(found.best(0)))
        widths = np.array(state.widths[-1], np.int64)
        _remember(_key(model, task, place, self.problem.k, widths), state.texts[-1], widths, forwards)
        state.sums += score.of(place, state.texts[-1]) - score.of(place, "")
        state.forwards += forwards
        state.cost = score.cost(state.sums) + self.problem.price(instance, state.forwards)
        state.search = None

    def mask(self, instance: Any, state: State, size: Size) -> Array:
        """As many as there are hypotheses, (k,) int8; the first at the end."""
        mask = np.zeros(self.problem.k, np.int8)
        mask[: 1 if state.search is None else max(1, int((state.search.scores[0] > -np.inf).sum()))] = 1
        return mask

    def done(self, instance: Any, state: State) -> bool:
        """Whether every sentence is over."""
        return state.search is None

    def step(self, instance: Any, state: State, action: Any) -> State:
        """Let the best hypotheses go on by a token."""
        search = state.search
        assert search is not None
        state.widths[-1].append(int(action) + 1)
        search.keep(np.array([int(action) + 1]))
        if len(search.slots.live):
            search.step(self.problem.model_of(instance))
        self._settle(instance, state)
        return self._next(instance, state)

    def copy(self, state: State) -> State:
        """A fork."""
        return replace(
            state, search=deepcopy(state.search), widths=[list(each) for each in state.widths],
            texts=list(state.texts), sums=state.sums.copy(),
        )  # fmt: skip

    def cost(self, instance: Any, state: State) -> float:
        """Of the sentences that are over, the others being empty, and of their forward passes."""
        return state.cost

    def scale(self, instance: Any, state: State) -> float:
        """Scores are percentages."""
        return 100.0

    def solution(self, instance: Any, state: State) -> Solution:
        """The widths with their answers; where there is none yet it is 1."""
        widths = np.zeros((len(instance), max(self.problem.task(instance).limits)), np.int64)
        for row, each in enumerate(state.widths):
            widths[row, : len(each)] = each
        return narrowed_arrays(self.problem.replay(instance, widths))

    def nodes(self, instance: Any, state: State) -> Array:
        """Nothing changes at the positions."""
        return np.zeros((0, 0), np.float32)

    def globals(self, instance: Any, state: State) -> Array:
        """The step of the search, and the progress, (7,) float32."""
        done, count, task = len(state.texts), len(instance), self.problem.task(instance)
        told = np.zeros(len(STEP), np.float32)
        if state.search is not None:
            read = len(self.problem.model_of(instance).read(task.sources[done]))
            told = about_step(state.search, np.array([task.limits[done]]), np.array([read]))[0]
        return np.concatenate([told, [min(done / 100, 10.0), done / count]]).astype(np.float32)

    def focus(self, instance: Any, state: State) -> int:
        """No position in particular."""
        return -1

    def candidates(self, instance: Any, state: State, size: Size) -> tuple[Array, Array]:
        """The last hypothesis that would be kept and the first that would not, the width, how many of them go on, and
        their share of the probability, (k, 21) float32.
        """
        k = self.problem.k
        found = np.zeros((k, len(self.candidate_features)), np.float32)
        if state.search is not None:
            slots = about_slots(state.search)[0]
            going = np.cumsum(state.search.slots.row[0] >= 0) / k
            shares = np.cumsum(slots[:, ABOUT.index("share")])
            own = np.stack([np.arange(1, k + 1) / k, going, shares], axis=1)
            found = np.concatenate([slots, np.roll(slots, -1, axis=0), own], axis=1).astype(np.float32)
            found[-1, len(ABOUT) : 2 * len(ABOUT)] = 0.0
        return found, np.full(k, -1, np.int32)

    def trails(self, instance: Any, solution: Solution, places: Sequence[int]) -> list[tuple[Trail, Array]]:
        """The searches for some sentences of a solution, and how many hypotheses went on from each step, (T,)."""
        model, task, found = self.problem.model_of(instance), self.problem.task(instance), list[tuple[Trail, Array]]()
        for place in places:
            widths, searches = solution["widths"][place], list[WuSearch]()

            def ask(asked: Asked, given: Array = widths, seen: list[WuSearch] = searches) -> Array:
                seen.append(asked.search)
                return given[asked.search.steps - 1 : asked.search.steps]

            narrow(model, Task([task.sources[place]], [task.limits[place]], None), self.problem.k, ask)
            if searches:
                steps = searches[-1].slots.trail()
                kept = np.where(widths > 0, widths, self.problem.k)
                found.append((steps, np.pad(kept, (0, len(steps.parents)), constant_values=self.problem.k)))
        return found


def _scored(task: Task, name: str) -> Any:
    if task.score is None:
        raise UsageError(f"{name} has no references, which mode 'width' weighs against compute: give references=FILE.")
    return task.score
