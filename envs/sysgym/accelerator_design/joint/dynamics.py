"""The dynamics of mode `joint`: sixteen parameters, then a decision for each region in order of execution.

The decision of a region is its schedule s, up to which of its consumers its output stays (k, 0: it does not), and
whether its weights stay for ever (p): the action (k * schedules + s) * 2 + p. What stays takes room while the regions
from the producer to the consumer run, weights while all regions of their network do; masks allow what fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.joint.plans import (
    Decisions,
    arrays_of_plan,
    nothing_stays,
    parts,
    readers,
    room_of,
    room_taken,
)
from sysgym.accelerator_design.modes import Datapaths, shares
from sysgym.accelerator_design.space import BATCH, machines
from sysgym.core.defaults import complete
from sysgym.core.problem import Array, Size, Solution
from sysgym.search.modes import Sequential, State


@dataclass(kw_only=True)
class JointState(State):
    """A datapath and a plan, perhaps not complete: of regions to come, the usual schedule and nothing that stays."""

    plan: Decisions
    taken: Array  # (R,) bytes that stay while each region runs


@complete
class Joint(Sequential[Workloads]):
    """One parameter after the other, then one region after the other."""

    def __init__(self, choices: Datapaths) -> None:
        super().__init__(choices)
        self.problem, self.schedules = choices.problem, choices.problem.schedule + 1
        self.node_features = (*choices.region_features, "schedule", "decided", "stays", "pinned")
        self.global_features = (*self.global_features[:-2], "room_taken", *self.global_features[-2:])

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the table, or the decision of a region."""
        return spaces.Discrete(max(int(self.counts.max()), 2 * self.schedules * (size.choices[0] + 1)))

    def start(self, instance: Workloads, rng: np.random.Generator, solution: Solution | None = None) -> JointState:
        """Nothing is chosen; a starting solution is refused."""
        begun = super().start(instance, rng, solution)
        regions = len(instance.kind)
        return JointState(
            design=begun.design, best=begun.best, cost=0.0, steps=0, horizon=len(self.counts) + regions, stopped=False,
            plan=nothing_stays(instance, self.problem.schedule), taken=np.zeros(regions),
        )  # fmt: skip

    def copy(self, state: State) -> JointState:
        """Fork a state."""
        assert isinstance(state, JointState)
        plan = Decisions(*(array.copy() for array in state.plan))
        return replace(state, design=state.design.copy(), best=state.best.copy(), plan=plan, taken=state.taken.copy())

    def solution(self, instance: Workloads, state: Any) -> Solution:
        """The datapath, where something is not chosen yet the first value that is allowed, and the plan."""
        return {**super().solution(instance, state), **arrays_of_plan(instance, state.plan)}

    def focus(self, instance: Workloads, state: State) -> int:
        """The region that is decided next, -1 while the datapath is."""
        return -1 if state.stopped else max(state.steps - len(self.counts), -1)

    def mask(self, instance: Workloads, state: Any, size: Size) -> Array:
        """Values that keep a feasible design possible, then what fits in memory, (A,) int8."""
        mask = np.zeros(int(self.action_space(size).n), np.int8)  # type: ignore[attr-defined]
        region = self.focus(instance, state)
        if state.stopped:
            mask[0] = 1
        elif region < 0:
            allowed = self.choices.allowed(instance, state.design, state.steps)
            mask[: len(allowed)] = allowed
        else:
            fits = self._fits(instance, state, region)
            each = np.repeat(fits[:, None, :], self.schedules, axis=1).ravel()
            mask[: len(each)] = each
        return mask

    def _fits(self, instance: Workloads, state: JointState, region: int) -> Array:
        """Whether it fits if the output of a region stays to its k-th consumer (rows from 0) and its weights do not or
        do stay, (consumers + 1, 2) bool; True at nothing at least.
        """
        machine, tensor = machines(state.design[None])[0], int(instance.out[region])
        room, (ptr, reading) = room_of(machine), instance.consumers
        network = int(instance.network[region])
        ever = float(state.taken[instance.first[network] : instance.first[network + 1]].max())
        ends = reading[ptr[tensor] : ptr[tensor + 1]]
        highest = np.maximum.accumulate(state.taken[region : int(ends.max(initial=region)) + 1])[ends - region]
        held = np.concatenate([[0.0], highest + 2.0 * machine[BATCH] * instance.elems[tensor]])
        weights = 2.0 * float(instance.weights[region])
        pinned = (np.maximum(held, ever) + weights <= room) & (weights > 0)
        return np.stack([held <= room, pinned], axis=1)

    def step(self, instance: Workloads, state: Any, action: Any) -> JointState:
        """Choose the next value, or decide the next region."""
        region = self.focus(instance, state)
        if region < 0:
            state.design[state.steps] = state.best[state.steps] = int(action)
        else:
            rest, pin = divmod(int(action), 2)
            upto, state.plan.schedule[region] = divmod(rest, self.schedules)
            state.plan.upto[instance.out[region]], state.plan.pinned[region] = upto, pin
            state.taken = room_taken(instance, float(machines(state.design[None])[0][BATCH]), state.plan)
        state.steps += 1
        whole = state.steps == len(self.counts)
        if state.steps == state.horizon or (whole and not self.choices.workable(instance, state.design[None])[0]):
            self._finish(instance, state)
        return state  # type: ignore[no-any-return]

    def _finish(self, instance: Workloads, state: State) -> State:
        state.best, state.stopped = state.design.copy(), True
        state.cost = float(self.problem.judge(instance, self.solution(instance, state)).cost)
        return state

    def nodes(self, instance: Workloads, state: Any) -> Array:
        """What each region does under the datapath and the plan so far, and what is decided, (R, 7) float32."""
        found = np.zeros((len(instance.kind), len(self.node_features)), np.float32)
        if state.steps < len(self.counts) or not self.choices.workable(instance, state.design[None])[0]:
            return found
        machine = machines(state.design[None])[0]
        compute, traffic = parts(self.problem.measured(instance).simulator, machine, state.plan)
        found[:, :3] = shares(instance, machine, compute, traffic)
        found[:, 3] = state.plan.schedule / max(self.schedules - 1, 1)
        found[: state.steps - len(self.counts), 4] = 1
        found[:, 5] = (state.plan.upto / np.maximum(readers(instance), 1))[instance.out]
        found[:, 6] = state.plan.pinned
        return found

    def globals(self, instance: Workloads, state: Any) -> Array:
        """As while the datapath is chosen; and the share of the room that is taken while the next region runs."""
        found, region = super().globals(instance, state), self.focus(instance, state)
        room = room_of(machines(state.design[None])[0]) if region >= 0 else 0.0
        share = float(state.taken[region]) / room if room > 0 else 0.0
        return np.concatenate([found[:-2], [share], found[-2:]]).astype(np.float32)
