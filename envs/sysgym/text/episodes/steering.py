"""The beam mode: how wide to search for each sentence, and how to rank what is found, for a price of forward passes.

An action is a row of `SETTINGS`. What a setting answers is found by the search itself and remembered, so that judging
replays it; compute is counted in forward passes of hypotheses, never in time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.text.episodes.rows import Task
from sysgym.text.episodes.sentences import arrays_of
from sysgym.text.hypotheses import Trail, top_tokens
from sysgym.text.model import TextModel
from sysgym.text.search import Beam, beam_search, beam_trail

SETTINGS = (Beam(width=1, alpha=0.0), *(Beam(width=w, alpha=a) for w in (2, 5, 10, 25) for a in (0.0, 0.5, 1.0)))
"""Width and length penalty (Wu et al. 2016) of each action; the first is greedy decoding."""
ABOUT = ("log_p", "log_p_per_token", "worst_log_p", "mean_margin", "least_margin", "length", "source")


class Found(NamedTuple):
    """What a setting answers a sentence, and what that costs."""

    text: str
    forwards: int


Key = tuple[str, bytes, int, int]  # hash of the model, source, limit, setting
_known: OrderedDict[Key, Found] = OrderedDict()  # of this process; what is searched again is the same
_told: OrderedDict[Key, Array] = OrderedDict()  # what greedy decoding says of a sentence
KEPT = 2**16


class Replays:
    """The answers of all settings for the sentences of one instance, each found when it is asked for."""

    def __init__(self, model: TextModel, task: Task) -> None:
        self.model, self.task = model, task
        self.greedy = sum(each.forwards for each in self.of([0] * len(task.sources)))

    @cached_property
    def about(self) -> Array:
        """What greedy decoding says of each sentence, columns ABOUT, (n, 7) float32."""
        new = [i for i in range(len(self.task.sources)) if self._key(i, -1) not in _told]
        if new:
            limits = [self.task.limits[i] for i in new]
            for i, row in zip(new, _about(self.model, [self.task.sources[i] for i in new], limits), strict=True):
                _told[self._key(i, -1)] = row
        found = np.stack([_told[self._key(i, -1)] for i in range(len(self.task.sources))])
        while len(_told) > KEPT:
            _told.popitem(last=False)
        return found

    def of(self, settings: Sequence[int]) -> list[Found]:
        """The answer of each sentence with its setting: those of one setting and length are searched together."""
        groups: dict[tuple[int, int], list[int]] = {}
        for sentence, setting in enumerate(settings):
            if self._key(sentence, setting) not in _known:
                groups.setdefault((setting, self.task.limits[sentence]), []).append(sentence)
        found = {}
        for (setting, limit), members in groups.items():
            found.update(self._search(members, setting, limit))
        return [found.get(sentence) or self.one(sentence, setting) for sentence, setting in enumerate(settings)]

    def one(self, sentence: int, setting: int) -> Found:
        """The answer of one sentence; the same bits as in any company."""
        known = _known.get(self._key(sentence, setting))
        return known or self._search([sentence], setting, self.task.limits[sentence])[sentence]

    def _key(self, sentence: int, setting: int) -> Key:
        return self.model.hash, self.task.sources[sentence].tobytes(), self.task.limits[sentence], setting

    def _search(self, members: list[int], setting: int, limit: int) -> dict[int, Found]:
        found = beam_search(self.model, [self.task.sources[i] for i in members], SETTINGS[setting], limit)
        answers = {}
        for place, sentence in enumerate(members):
            text, forwards = self.model.text(found.best(place)), int(found.forwards[place])
            answers[sentence] = _known[self._key(sentence, setting)] = Found(text, forwards)
        while len(_known) > KEPT:
            _known.popitem(last=False)
        return answers


def _about(model: TextModel, sources: Sequence[Array], limits: Sequence[int]) -> Array:
    memory, state, last = model.begin(sources)
    count = len(sources)
    rows, total, margins = np.arange(count), np.zeros(count), np.zeros(count)
    worst, least, length = np.zeros(count), np.full(count, 1.0), np.zeros(count, np.int64)
    for step in range(max(limits)):
        logp, _, state = model.network.step(memory, state, last)
        tokens, two = top_tokens(logp, 2)
        margin = np.exp(two[:, 0].astype(np.float64)) - np.exp(two[:, 1].astype(np.float64))
        total[rows] += two[:, 0]
        margins[rows] += margin
        worst[rows], least[rows] = np.minimum(worst[rows], two[:, 0]), np.minimum(least[rows], margin)
        length[rows] += 1
        on = (tokens[:, 0] != model.special.end) & (step + 1 < np.array(limits)[rows])
        rows, last, state = rows[on], tokens[on, 0], state.take(np.flatnonzero(on))
        if not len(rows):
            break
    read = np.array([len(source) for source in sources])
    columns = [
        total / 10,
        total / length,
        np.maximum(worst, -100) / 10,
        margins / length,
        least,
        length / 64,
        read / 64,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


@dataclass
class State:
    """The settings chosen so far."""

    settings: list[int]
    sums: Array  # of the sentences, as `ChunkScore` counts
    forwards: int
    cost: float


class SteeredProblem(Protocol):
    """What the mode asks of its problem."""

    def task(self, instance: Any) -> Task: ...
    def replays(self, instance: Any) -> Replays: ...
    def price(self, instance: Any, forwards: int) -> float: ...


@complete
class Steering:
    """Choose width and length penalty for one sentence after the other."""

    node_features: tuple[str, ...] = ()
    global_features = (*ABOUT, "sentences", "progress")
    candidate_features = ("log2_width", "alpha", "price")

    def __init__(self, problem: SteeredProblem) -> None:
        self.problem = problem

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of SETTINGS."""
        return spaces.Discrete(len(SETTINGS))

    def start(self, instance: Any, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """No sentence has a setting; a starting solution is refused."""
        if solution is not None:
            raise UsageError("mode 'beam' decides from nothing; it takes no starting solution.")
        sums, cost = _scored(self.problem.task(instance), instance.name).nothing
        return State([], sums.copy(), 0, cost)

    def mask(self, instance: Any, state: State, size: Size) -> Array:
        """Every setting, (A,) int8; the first at the end."""
        mask = np.ones(len(SETTINGS), np.int8)
        mask[1:] = not self.done(instance, state)
        return mask

    def done(self, instance: Any, state: State) -> bool:
        """Whether every sentence has its setting."""
        return len(state.settings) == len(instance)

    def step(self, instance: Any, state: State, action: Any) -> State:
        """Search for the answer of the next sentence."""
        score, place = _scored(self.problem.task(instance), instance.name), len(state.settings)
        found = self.problem.replays(instance).one(place, int(action))
        state.settings.append(int(action))
        state.sums += score.of(place, found.text) - score.of(place, "")
        state.forwards += found.forwards
        state.cost = score.cost(state.sums) + self.problem.price(instance, state.forwards)
        return state

    def copy(self, state: State) -> State:
        """A fork."""
        return replace(state, settings=list(state.settings), sums=state.sums.copy())

    def cost(self, instance: Any, state: State) -> float:
        """Of the answers so far, the others being empty, and of the forward passes."""
        return state.cost

    def scale(self, instance: Any, state: State) -> float:
        """Scores are percentages."""
        return 100.0

    def solution(self, instance: Any, state: State) -> Solution:
        """The settings with their answers; sentences that have none are decoded greedily."""
        settings = state.settings + [0] * (len(instance) - len(state.settings))
        return settings_arrays(self.problem.replays(instance), settings)

    def nodes(self, instance: Any, state: State) -> Array:
        """Nothing changes at the positions."""
        return np.zeros((0, 0), np.float32)

    def globals(self, instance: Any, state: State) -> Array:
        """What greedy decoding says of the next sentence, how many there are, and the progress."""
        done, count = len(state.settings), len(instance)
        about = self.problem.replays(instance).about
        told = about[done] if done < count else np.zeros(len(ABOUT), np.float32)
        return np.concatenate([told, [min(count / 100, 10.0), done / count]]).astype(np.float32)

    def focus(self, instance: Any, state: State) -> int:
        """No position in particular."""
        return -1

    def candidates(self, instance: Any, state: State, size: Size) -> tuple[Array, Array]:
        """Width, length penalty, and about what the setting costs, (A, 3) float32."""
        rows = [[np.log2(beam.width) / 5, beam.alpha, beam.width / 25] for beam in SETTINGS]
        return np.array(rows, np.float32), np.full(len(SETTINGS), -1, np.int32)

    def trails(self, instance: Any, solution: Solution, places: Sequence[int]) -> list[tuple[Trail, Array]]:
        """The searches for some sentences of a solution, and how many hypotheses went on from each step, (T,)."""
        replays, found = self.problem.replays(instance), list[tuple[Trail, Array]]()
        for place in places:
            beam = SETTINGS[int(solution["settings"][place])]
            task = replays.task
            _, trail = beam_trail(replays.model, task.sources[place], beam, task.limits[place])
            found.append((trail, np.full(len(trail.parents), beam.width)))
        return found


def _scored(task: Task, name: str) -> Any:
    if task.score is None:
        raise UsageError(f"{name} has no references, which mode 'beam' weighs against compute: give references=FILE.")
    return task.score


def settings_arrays(replays: Replays, settings: Sequence[int]) -> Solution:
    """The solution of settings, one a sentence."""
    text, ends = arrays_of([each.text for each in replays.of(settings)])
    return {"text": text.astype(np.int64), "ends": ends, "settings": np.array(settings, np.int64)}
