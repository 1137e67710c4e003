"""The action modes of a search in a table of designs by a budget of noisy evaluations.

| mode | action | episode |
|---|---|---|
| `SequentialTrials` | Discrete: the value of the next parameter; after the last one the design is tried | N P steps |
| `OneShotTrials` | MultiDiscrete: a whole design, which is tried | N steps |

The answer is the evaluated design whose mean of seen results is least, of equal ones the first; before the first
evaluation it is the first design of the table. A state's cost is what the judge says of its answer: the table's mean,
without noise. So rewards know what observations must not show: they are a signal for training, and nothing that solves
may look at them. What tables mean, `Tables` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.search.modes import UNSET
from sysgym.search.tables import Lookup
from sysgym.search.trial_kernels import ANSWER, BEST, GLOBALS, VALUE_FEATURES, describe, heard, regressed

I_contra = TypeVar("I_contra", contravariant=True)


class Tables(Protocol[I_contra]):
    """What a problem says about its instances."""

    def table(self, instance: I_contra) -> Lookup:
        """All designs; the same object for the same instance."""
        ...

    def seed(self, instance: I_contra) -> int:
        """Of the noise."""
        ...

    def evaluations(self, instance: I_contra) -> int:
        """How many there are."""
        ...

    def scale(self, instance: I_contra) -> float:
        """A cost to compare with."""
        ...


@dataclass
class Trials:
    """What was evaluated and seen, and the design under way."""

    design: Array  # (P,) int64, UNSET where nothing is chosen yet
    designs: Array  # (N, P) int64, of the evaluations
    results: Array  # (N,) float64, costs as they were seen
    same: Array  # (N,) int64, the first evaluation of the same design
    sums: Array  # (N,) float64, of all results of a design, at its first evaluation
    hits: Array  # (N,) int64, and how many there are
    chosen: Array  # (2,) int64, the evaluations of the best result and of the answer
    effect: Array  # (V,) float64, of the values by a regression, lower is better
    place: int = 0  # the parameter whose turn it is
    done: int = 0  # evaluations

    @property
    def answer(self) -> Array:
        """The design of the answer, (P,) int64, once there is a result."""
        return np.asarray(self.designs[self.chosen[ANSWER]])

    @property
    def seen(self) -> float:
        """The mean of the answer's results."""
        first = self.chosen[ANSWER]
        return float(self.sums[first] / self.hits[first])


def fresh(table: Lookup, evaluations: int) -> Trials:
    """Nothing is evaluated yet."""
    count = len(table.counts)
    return Trials(
        np.full(count, UNSET, np.int64), np.full((evaluations, count), UNSET, np.int64), np.zeros(evaluations),
        np.zeros(evaluations, np.int64), np.zeros(evaluations), np.zeros(evaluations, np.int64), np.zeros(2, np.int64),
        np.zeros(int(table.counts.sum())),
    )  # fmt: skip


def evaluate(table: Lookup, seed: int, trials: Trials, design: Array) -> float:
    """Evaluate a design (P,) and take its result in."""
    turn = trials.done
    trials.designs[turn] = design
    trials.results[turn] = table.result(seed, turn, int(table.number(design)))
    heard(table.counts, trials.designs, trials.results, trials.same, trials.sums, trials.hits, trials.chosen, turn)
    trials.done += 1
    best = float(trials.results[trials.chosen[BEST]])
    regressed(table.counts, trials.designs, trials.results, best, trials.done, trials.effect)
    return float(trials.results[turn])


class TrialMode(Generic[I_contra]):
    """What the modes share."""

    state_features: tuple[str, ...] = ()
    candidate_features: tuple[str, ...] = ()
    node_features: tuple[str, ...] = VALUE_FEATURES
    global_features: tuple[str, ...] = (*GLOBALS, "progress")

    def __init__(self, tables: Tables[I_contra]) -> None:
        self.tables = tables

    def start(self, instance: I_contra, rng: np.random.Generator, solution: Solution | None = None) -> Trials:
        """Nothing is evaluated; a starting solution is refused."""
        if solution is not None:
            raise UsageError("a search by noisy evaluations starts from nothing; leave the solution out.")
        return fresh(self.tables.table(instance), self.tables.evaluations(instance))

    def done(self, instance: I_contra, state: Trials) -> bool:
        """Whether all evaluations are used."""
        return state.done == len(state.results)

    def copy(self, state: Trials) -> Trials:
        """Fork a state."""
        return Trials(
            state.design.copy(), state.designs.copy(), state.results.copy(), state.same.copy(), state.sums.copy(),
            state.hits.copy(), state.chosen.copy(), state.effect.copy(), state.place, state.done,
        )  # fmt: skip

    def answer(self, instance: I_contra, state: Trials) -> Array:
        """The design that is the answer as it stands, (P,) int64."""
        return state.answer if state.done else self.tables.table(instance).first()

    def cost(self, instance: I_contra, state: Trials) -> float:
        """The table's mean of the answer."""
        table = self.tables.table(instance)
        return table.mean(int(table.number(self.answer(instance, state))))

    def scale(self, instance: I_contra, state: Trials) -> float:
        """The cost to compare with."""
        return self.tables.scale(instance)

    def solution(self, instance: I_contra, state: Trials) -> Solution:
        """The answer as it stands."""
        return {"design": self.answer(instance, state).copy()}

    def focus(self, instance: I_contra, state: Trials) -> int:
        """No action concerns one value in particular."""
        return -1

    def _features(self, instance: I_contra, state: Trials, place: int) -> tuple[Array, Array]:
        """Of all values (V, F), and of the search (G,)."""
        table = self.tables.table(instance)
        x, g = np.empty((int(table.counts.sum()), len(VALUE_FEATURES)), np.float32), np.empty(len(GLOBALS), np.float32)
        describe(table.counts, state.designs, state.results, state.sums, state.hits, state.chosen, state.done,
                 state.design, place, state.effect, x, g)  # fmt: skip
        if place >= 0:
            first = int(table.counts[:place].sum())
            flags = table.allowed(state.design[:place])
            x[first : first + len(flags), -1] = flags
        elif not self.done(instance, state):
            x[:, -1] = 1
        return x, g

    def place(self, instance: I_contra, state: Trials) -> int:
        """The parameter whose turn it is; -1 where there is none."""
        return -1

    def nodes(self, instance: I_contra, state: Trials) -> Array:
        """What is known of each value, (V, F) float32."""
        return self._features(instance, state, self.place(instance, state))[0]

    def globals(self, instance: I_contra, state: Trials) -> Array:
        """What is known of the search, (G,) float32."""
        found = self._features(instance, state, self.place(instance, state))[1]
        return np.append(found, np.float32(self.progress(state)))

    def progress(self, state: Trials) -> float:
        """The fraction of the episode that is done."""
        return state.done / len(state.results)


@complete
class SequentialTrials(TrialMode[I_contra]):
    """One parameter's value a step."""

    candidate_features = (*VALUE_FEATURES, "share", "even")

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A value of the next parameter."""
        return spaces.Discrete(size.choices[1])

    def place(self, instance: I_contra, state: Trials) -> int:
        """The next parameter, until the end."""
        return -1 if self.done(instance, state) else state.place

    def mask(self, instance: I_contra, state: Trials, size: Size) -> Array:
        """Values after which a design of the table is possible, (A,) int8; 0 at the end."""
        mask = np.zeros(size.choices[1], np.int8)
        if self.done(instance, state):
            mask[0] = 1
        else:
            allowed = self.tables.table(instance).allowed(state.design[: state.place])
            mask[: len(allowed)] = allowed
        return mask

    def step(self, instance: I_contra, state: Trials, action: Any) -> Trials:
        """Choose a value; evaluate the design that is complete by it."""
        table = self.tables.table(instance)
        state.design[state.place] = action
        state.place += 1
        if state.place == len(state.design):
            evaluate(table, self.tables.seed(instance), state, state.design)
            state.design[:], state.place = UNSET, 0
        return state

    def progress(self, state: Trials) -> float:
        """The fraction of the choices that are made."""
        return (state.done + state.place / len(state.design)) / len(state.results)

    def candidates(self, instance: I_contra, state: Trials, size: Size) -> tuple[Array, Array]:
        """The features of the values of the next parameter, with their place among them and one over their number."""
        found = np.zeros((size.choices[1], len(self.candidate_features)), np.float32)
        nodes = np.full(size.choices[1], -1, np.int32)
        place = self.place(instance, state)
        if place >= 0:
            counts = self.tables.table(instance).counts
            first, count = int(counts[:place].sum()), int(counts[place])
            found[:count, :-2] = self._features(instance, state, place)[0][first : first + count]
            found[:count, -2] = np.arange(count) / max(count - 1, 1)
            found[:count, -1] = 1 / count
            nodes[:count] = np.arange(first, first + count)
        return found, nodes


@complete
class OneShotTrials(TrialMode[I_contra]):
    """A whole design a step. One that is not in the table uses up an evaluation and shows the worst result."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A value for each parameter."""
        return spaces.MultiDiscrete(np.full(size.choices[0], size.choices[1]))

    def mask(self, instance: I_contra, state: Trials, size: Size) -> Array:
        """The values of each parameter, (P * most values,) int8; value 0 of a parameter that only pads."""
        counts = self.tables.table(instance).counts
        mask = np.zeros((size.choices[0], size.choices[1]), np.int8)
        mask[:, 0] = 1
        mask[: len(counts)] = np.arange(size.choices[1]) < counts[:, None]
        return mask.reshape(-1)

    def step(self, instance: I_contra, state: Trials, action: Any) -> Trials:
        """Evaluate a design."""
        table = self.tables.table(instance)
        evaluate(table, self.tables.seed(instance), state, np.asarray(action, np.int64)[: len(table.counts)])
        return state
