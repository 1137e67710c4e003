"""The 0/1 knapsack problem: pack the most value without exceeding a weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image, ImageDraw

from sysgym import ArraySpec, Size, Solution, UsageError, Verdict, complete, content_hash
from sysgym.core.errors import unknown
from sysgym.core.instances import Entry, InstanceSet, find_entry
from sysgym.core.problem import Array
from sysgym.core.solutions import check_arrays

SPLITS = {"train": 4, "valid": 2, "test": 3}  # instances of the set `small`


@dataclass(frozen=True)
class Items:
    """What may be packed."""

    name: str
    value: Array  # (n,) int64, positive
    weight: Array  # (n,) int64, positive


def draw_items(name: str, rng: np.random.Generator) -> Items:
    """Random items whose values follow their weights."""
    weight = rng.integers(5, 40, size=int(rng.integers(12, 25)))
    return Items(name, weight + rng.integers(1, 20, size=len(weight)), weight)


@cache
def small() -> InstanceSet:
    """The generated set `small`: the name of an instance is its seed."""
    names = [(f"small/{split}-{i}", split) for split, count in SPLITS.items() for i in range(count)]
    entries = []
    for seed, (name, split) in enumerate(names):
        items = draw_items(name, np.random.default_rng(seed))
        entries.append(Entry(name, split, None, content_hash(items), len(items.value), 0))  # no file: generated
    return InstanceSet("small", 1, "generated", "MIT", "12 to 24 items, values near weights", tuple(entries))


@dataclass
class State:
    """Items packed so far."""

    packed: Array  # (n,) int64, 0 or 1
    room: int


@complete
class Knapsack:
    """Pack the most value without exceeding `fill` of the total weight. cost = -value.

    Options:
        fill: share of the total weight that the sack holds.

    Observation: node features are value and weight, each over its mean, then packed and fits. Globals: room over
    the capacity, progress (share of the items that are packed or too heavy).
    Version history: v0, first release.
    """

    name, version = "Knapsack", 0
    recommended_agent = "knapsack-rule"
    variants: tuple[Mapping[str, Any], ...] = ({},)
    default_instances = "small/train"
    node_features, global_features = ("packed", "fits"), ("room", "progress")

    def __init__(self, *, fill: float = 0.5) -> None:
        if not 0 < fill <= 1:
            raise UsageError(f"option fill must be a number above 0 and up to 1, got {fill!r}.")
        self.fill = float(fill)

    # --------------------------------------------------------------------------------------- instances

    def load(self, name: str) -> Items:
        """An instance of the set, `random:seed=7`, or a text file with a value and a weight a line."""
        names = small().names()
        if name in names:
            return draw_items(name, np.random.default_rng(names.index(name)))
        head, _, seed = name.partition(":seed=")
        if head == "random" and seed.isdigit():
            return draw_items(name, np.random.default_rng([int(seed), 1]))
        try:
            table = np.loadtxt(name, dtype=np.int64, ndmin=2)
        except OSError:
            raise unknown("instance", name, names) from None
        except ValueError as error:
            raise UsageError(f"{name}: expected a value and a weight a line ({error}).") from error
        if table.shape[1:] != (2,) or table.min(initial=1) < 1:
            raise UsageError(f"{name}: expected a positive value and a positive weight a line.")
        return Items(name, table[:, 0], table[:, 1])

    def generate(self, rng: np.random.Generator) -> Items:
        """A random instance."""
        return self.load(f"random:seed={int(rng.integers(2**31))}")

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Sets by name."""
        return {"small": small()}

    def size(self, instance: Items) -> Size:
        """Items are nodes; there are no edges."""
        return Size(len(instance.value), 0)

    def static(self, instance: Items) -> Mapping[str, Array]:
        """Value and weight of each item over their means."""
        columns = [instance.value / instance.value.mean(), instance.weight / instance.weight.mean()]
        return {
            "nodes": np.stack(columns, axis=1).astype(np.float32),
            "edges": np.zeros((0, 1), np.float32),
            "edge_index": np.zeros((2, 0), np.int32),
        }

    # ----------------------------------------------------------------------------------------- judging

    def capacity(self, instance: Items) -> int:
        """The weight that the sack holds, at least the lightest item."""
        return max(int(self.fill * int(instance.weight.sum())), int(instance.weight.min()))

    def solution_arrays(self, instance: Items) -> Mapping[str, ArraySpec]:
        """`packed`: 0 or 1 an item."""
        return {"packed": ArraySpec(instance.value.shape, "int", 0, 1, "1 = packed")}

    def judge(self, instance: Items, solution: Solution) -> Verdict:
        """Minus the packed value; infeasible if it is too heavy."""
        packed = check_arrays(self.solution_arrays(instance), solution)["packed"]
        value, weight, limit = int(instance.value @ packed), int(instance.weight @ packed), self.capacity(instance)
        violations = (f"the sack weighs {weight}, it holds {limit}",) if weight > limit else ()
        metrics = {"value": float(value), "weight": float(weight), "excess": max(0.0, weight / max(limit, 1) - 1)}
        return Verdict(not violations, 0.0 - value, metrics, violations)

    def reference_costs(self, instance: Items) -> Mapping[str, float]:
        """The optimum by dynamic programming, for registered instances."""
        if find_entry(self.instance_sets(), instance.name) is None:
            return {}
        best = np.zeros(self.capacity(instance) + 1, np.int64)
        for value, weight in zip(instance.value.tolist(), instance.weight.tolist(), strict=True):
            if weight < len(best):
                best[weight:] = np.maximum(best[weight:], best[:-weight] + value)
        return {"optimum": -float(best[-1])}

    def describe(self, instance: Items, solution: Solution) -> str:
        """Value and weight as text."""
        found = self.judge(instance, solution).metrics
        head = f"{instance.name}: {len(instance.value)} items, capacity {self.capacity(instance)}"
        return f"{head}\nvalue {found['value']:g}, weight {found['weight']:g}"

    def render(self, instance: Items, solution: Solution) -> Array:
        """A bar an item, as high as its value and coloured by its weight; packed ones stand on black."""
        count = len(instance.value)
        image = Image.new("RGB", (12 * count, 120), "white")
        pen = ImageDraw.Draw(image)
        for i, packed in enumerate(np.asarray(solution["packed"]).tolist()):
            height = int(100 * instance.value[i] / instance.value.max())
            shade = int(200 * instance.weight[i] / instance.weight.max())
            pen.rectangle([12 * i + 1, 110 - height, 12 * i + 10, 110], fill=(shade, 80, 255 - shade))
            pen.rectangle([12 * i + 1, 112, 12 * i + 10, 118], fill="black" if packed else "lightgray")
        return np.asarray(image, np.uint8).copy()

    # ---------------------------------------------------------- the only action mode: pack one more item

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """The item to pack."""
        return spaces.Discrete(size.nodes)

    def start(self, instance: Items, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """An empty sack, or the one of `solution`."""
        packed = np.zeros(len(instance.value), np.int64) if solution is None else np.array(solution["packed"])
        return State(packed, self.capacity(instance) - int(instance.weight @ packed))

    def fits(self, instance: Items, state: State) -> Array:
        """Which items are not packed and fit, (n,) bool."""
        found: Array = (state.packed == 0) & (instance.weight <= state.room)
        return found

    def mask(self, instance: Items, state: State, size: Size) -> Array:
        """Items that fit; item 0 at the end, because a mask is never empty."""
        mask = np.zeros(size.nodes, np.int8)
        mask[: len(instance.value)] = self.fits(instance, state)
        mask[0] |= not mask.any()
        return mask

    def step(self, instance: Items, state: State, action: Any) -> State:
        """Pack an item, if it fits."""
        if self.fits(instance, state)[action]:
            state.packed[action] = 1
            state.room -= int(instance.weight[action])
        return state

    def done(self, instance: Items, state: State) -> bool:
        """Whether nothing fits any more."""
        return not self.fits(instance, state).any()

    def solution(self, instance: Items, state: State) -> Solution:
        """The packed items."""
        return {"packed": state.packed.copy()}

    def copy(self, state: State) -> State:
        """A fork."""
        return State(state.packed.copy(), state.room)

    def cost(self, instance: Items, state: State) -> float:
        """Minus the packed value."""
        return 0.0 - int(instance.value @ state.packed)

    def scale(self, instance: Items, state: State) -> float:
        """The value of all items."""
        return float(instance.value.sum())

    def nodes(self, instance: Items, state: State) -> Array:
        """What is packed and what fits."""
        return np.stack([state.packed, self.fits(instance, state)], axis=1).astype(np.float32)

    def globals(self, instance: Items, state: State) -> Array:
        """Room over capacity, and progress."""
        room = state.room / max(self.capacity(instance), 1)
        return np.array([max(room, -1.0), 1 - self.fits(instance, state).mean()], np.float32)

    def focus(self, instance: Items, state: State) -> int:
        """No item in particular."""
        return -1
