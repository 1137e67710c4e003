"""The action modes of problems whose solution is a choice from a table for each of P parameters.

| mode | action | episode |
|---|---|---|
| `Sequential` | Discrete(largest count): the value of the next parameter | P steps |
| `OneShot` | MultiDiscrete(counts): all values at once | one step |
| `Refine` | Discrete(2 P + 1): a parameter one step down or up, or stop; the best feasible counts | `steps` moves |

The solution is the array `design`, (P,) rows of the table. What the table means, `Choices` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution

I_contra = TypeVar("I_contra", contravariant=True)
UNSET = -1


class Choices(Protocol[I_contra]):
    """What a problem says about its parameters. `design` is (P,) int64, UNSET where nothing is chosen yet."""

    counts: Array  # (P,) int64, how many values each parameter has
    region_features: tuple[str, ...]  # of the nodes, once all is chosen
    summary: tuple[str, ...]  # names of what `told` says

    def allowed(self, instance: I_contra, design: Array, position: int) -> Array:
        """Which values of a parameter leave a feasible answer possible, (count,) bool; True at one at least."""
        ...

    def cost(self, instance: I_contra, design: Array) -> float:
        """What `judge` will say a complete design costs."""
        ...

    def feasible(self, instance: I_contra, design: Array) -> bool:
        """And whether it is feasible."""
        ...

    def workable(self, instance: I_contra, designs: Array) -> Array:
        """Whether designs (n, P) can be evaluated at all, (n,) bool."""
        ...

    def at_least(self, instance: I_contra, design: Array) -> float:
        """What a workable design costs at least, quickly."""
        ...

    def begin(self, instance: I_contra, rng: np.random.Generator) -> Array:
        """A feasible design to refine."""
        ...

    def regions(self, instance: I_contra, design: Array) -> Array:
        """Features of the nodes under a complete, workable design, (n, F) float32."""
        ...

    def told(self, instance: I_contra, design: Array) -> Array:
        """What is known of a design that may not be complete, (len(summary),) float32."""
        ...


@dataclass
class State:
    """A design, perhaps not complete, and the best one seen."""

    design: Array  # (P,) int64
    best: Array  # (P,) int64
    cost: float  # of the best one; 0 while there is none
    steps: int
    horizon: int
    stopped: bool
    feasible: bool = True  # whether the best one is


class TableMode(Generic[I_contra]):
    """What the modes share."""

    state_features: tuple[str, ...] = ()
    candidate_features: tuple[str, ...] = ()
    node_features: tuple[str, ...] = ("of the choices",)  # named by each object
    global_features: tuple[str, ...] = ("progress",)

    def __init__(self, choices: Choices[I_contra]) -> None:
        self.choices = choices
        self.counts = choices.counts
        count = range(len(choices.counts))
        self.node_features = choices.region_features
        self.global_features = (
            *(f"value_{i}" for i in count), *(f"set_{i}" for i in count), *choices.summary, "cost", "progress",
        )  # fmt: skip

    def done(self, instance: I_contra, state: State) -> bool:
        """Whether the episode is over."""
        return state.stopped

    def copy(self, state: State) -> State:
        """Fork a state."""
        return State(
            state.design.copy(),
            state.best.copy(),
            state.cost,
            state.steps,
            state.horizon,
            state.stopped,
            state.feasible,
        )

    def cost(self, instance: I_contra, state: State) -> float:
        """Cost of the answer; 0 while it is not complete."""
        return state.cost

    def scale(self, instance: I_contra, state: State) -> float:
        """Costs are relative to the reference already."""
        return 1.0

    def solution(self, instance: I_contra, state: State) -> Solution:
        """The best design; where something is not chosen yet, the first value that is allowed."""
        return {"design": self._completed(instance, state.best)}

    def _completed(self, instance: I_contra, design: Array) -> Array:
        found = design.copy()
        for position in np.flatnonzero(found == UNSET).tolist():
            found[position] = int(self.choices.allowed(instance, found, position).argmax())
        return found

    def nodes(self, instance: I_contra, state: State) -> Array:
        """What each region does under the design, once it is complete, (n, F) float32; else zeros."""
        if (state.design == UNSET).any() or not self.choices.workable(instance, state.design[None])[0]:
            whole: Any = instance
            return np.zeros((len(whole.kind), len(self.node_features)), np.float32)
        return self.choices.regions(instance, state.design)

    def globals(self, instance: I_contra, state: State) -> Array:
        """The values (0 to 1) and which are set, what is known of the design, the cost and the progress."""
        given = state.design != UNSET
        values = np.where(given, state.design / np.maximum(self.counts - 1, 1), 0.0)
        told = self.choices.told(instance, state.design)
        rest = [min(state.cost, 1e3), 1.0 if state.stopped else state.steps / max(state.horizon, 1)]
        return np.concatenate([values, given, told, rest]).astype(np.float32)

    def focus(self, instance: I_contra, state: State) -> int:
        """No action concerns one region."""
        return -1

    def _finish(self, instance: I_contra, state: State) -> State:
        state.best, state.stopped = state.design.copy(), True
        state.cost = self.choices.cost(instance, state.design)
        return state


def _refuse_start(solution: Solution | None, mode: str) -> None:
    if solution is not None:
        raise UsageError(f"mode {mode!r} starts from nothing; a starting solution needs mode='refine'.")


@complete
class Sequential(TableMode[I_contra]):
    """One parameter after the other, with masks that keep a feasible design possible."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the table."""
        return spaces.Discrete(int(self.counts.max()))

    def start(self, instance: I_contra, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Nothing is chosen; a starting solution is refused."""
        _refuse_start(solution, "sequential")
        design = np.full(len(self.counts), UNSET, np.int64)
        return State(design, design.copy(), 0.0, 0, len(design), False)

    def mask(self, instance: I_contra, state: State, size: Size) -> Array:
        """Values after which a feasible design is possible, (A,) int8."""
        mask = np.zeros(int(self.counts.max()), np.int8)
        if state.stopped:
            mask[0] = 1
        else:
            allowed = self.choices.allowed(instance, state.design, state.steps)
            mask[: len(allowed)] = allowed
        return mask

    def step(self, instance: I_contra, state: State, action: Any) -> State:
        """Choose the next value."""
        state.design[state.steps] = state.best[state.steps] = int(action)
        state.steps += 1
        return self._finish(instance, state) if state.steps == len(self.counts) else state


@complete
class OneShot(TableMode[I_contra]):
    """All values at once."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the table for each parameter."""
        return spaces.MultiDiscrete(self.counts)

    def start(self, instance: I_contra, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Nothing is chosen; a starting solution is refused."""
        _refuse_start(solution, "oneshot")
        design = np.full(len(self.counts), UNSET, np.int64)
        return State(design, design.copy(), 0.0, 0, 1, False)

    def mask(self, instance: I_contra, state: State, size: Size) -> Array:
        """Every value: what fits together is judged, not masked. (sum of counts,) int8."""
        return np.ones(int(self.counts.sum()), np.int8)

    def step(self, instance: I_contra, state: State, action: Any) -> State:
        """Take the design and end the episode."""
        state.design, state.steps = np.asarray(action, np.int64).copy(), 1
        return self._finish(instance, state)


@complete
class Refine(TableMode[I_contra]):
    """Steps from a feasible design to its neighbours; the best feasible one seen is the solution."""

    def __init__(self, choices: Choices[I_contra], steps: int) -> None:
        super().__init__(choices)
        self.steps = steps

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """Down 0..P-1, up P..2P-1, or stop."""
        return spaces.Discrete(2 * len(self.counts) + 1)

    def start(self, instance: I_contra, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Start from a given design, else from a random feasible one."""
        design = self.choices.begin(instance, rng) if solution is None else np.asarray(solution["design"], np.int64)
        if not self.choices.workable(instance, design[None])[0]:
            raise UsageError("a design to start from must be one that can work: its buffers hold no tile.")
        cost, feasible = self.choices.cost(instance, design), self.choices.feasible(instance, design)
        return State(design.copy(), design.copy(), cost, 0, self.steps, False, feasible)

    def mask(self, instance: I_contra, state: State, size: Size) -> Array:
        """Steps that stay in the table and leave something that can be evaluated, (2 P + 1,) int8; stopping."""
        count = len(self.counts)
        mask = np.zeros(2 * count + 1, np.int8)
        if not state.stopped:
            steps = np.concatenate([-np.eye(count, dtype=np.int64), np.eye(count, dtype=np.int64)])
            moved = state.design + steps
            inside = ((moved >= 0) & (moved < self.counts)).all(axis=1)
            mask[:-1][inside] = self.choices.workable(instance, moved[inside])
        mask[-1] = 1
        return mask

    def legal(self, instance: I_contra, state: State, action: Any, size: Size) -> bool:
        """The mask's answer for one action."""
        if not 0 <= action <= 2 * len(self.counts):
            return False
        if action == 2 * len(self.counts):
            return True
        moved = None if state.stopped else self._moved(state.design, int(action))
        return moved is not None and bool(self.choices.workable(instance, moved[None])[0])

    def _moved(self, design: Array, action: int) -> Array | None:
        """The neighbour that an action leads to, or None outside of the table."""
        parameter, up = action % len(self.counts), action >= len(self.counts)
        value = design[parameter] + (1 if up else -1)
        if not 0 <= value < self.counts[parameter]:
            return None
        moved = design.copy()
        moved[parameter] = value
        return moved

    def step(self, instance: I_contra, state: State, action: Any) -> State:
        """Move to the neighbour, or stop."""
        state.steps += 1
        if action == 2 * len(self.counts):
            state.stopped = True
            return state
        moved = self._moved(state.design, int(action))
        assert moved is not None
        state.design = moved
        if not state.feasible or self.choices.at_least(instance, moved) < state.cost:
            cost = self.choices.cost(instance, moved)
            if self.choices.feasible(instance, moved) and (cost < state.cost or not state.feasible):
                state.best, state.cost, state.feasible = moved.copy(), cost, True
        state.stopped = state.steps >= state.horizon
        return state
