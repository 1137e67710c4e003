"""Random layered networks: a graph is named by its recipe, `layered:depth=6,width=4,seed=1`, and is always the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.dataflow.graphs.graph import BACKWARD, FORWARD, HEAVY, NEVER, REDUCTION, UPDATE, DataflowGraph
from sysgym.dataflow.graphs.roofline import Roofline

OP_TYPES = ("param", "input", "mm", "relu", "add", "cat", "sum", "mm_backward", "relu_backward", "sgd_update")
OP_CLASS = (NEVER, NEVER, HEAVY, 1, 1, NEVER, REDUCTION, HEAVY, 1, 1)
PARAM, INPUT, MM, RELU, ADD, CAT, SUM, MM_BACKWARD, RELU_BACKWARD, SGD = range(10)


class Layered(NamedTuple):
    """A recipe: `depth` layers of `width` operators that read one to `fan_in` operators of the two layers before.

    heavy: share of matrix products, each with a parameter. size: median bytes of a tensor. train: 1 mirrors the
    operators for the backward pass and updates the parameters. devices: that references use.
    """

    depth: int = 6
    width: int = 4
    fan_in: int = 2
    heavy: float = 0.5
    size: int = 4_000_000
    train: int = 1
    devices: int = 2
    seed: int = 0


RANGES = {
    "depth": (1, 100_000), "width": (1, 10_000), "fan_in": (1, 64), "heavy": (0, 1), "size": (4, 2**36),
    "train": (0, 1), "devices": (1, 64), "seed": (0, 2**63 - 1),
}  # fmt: skip


def is_recipe(name: str) -> bool:
    """Whether a name looks like a recipe."""
    return name.split(":")[0] == "layered"


def parse_recipe(text: str) -> Layered:
    """The recipe in a text; UsageError names what is wrong."""
    values: dict[str, float] = {}
    for item in filter(None, text.partition(":")[2].split(",")):
        key, _, value = item.partition("=")
        if key not in Layered._fields:
            raise unknown("option of layered", key, Layered._fields)
        try:
            values[key] = float(value) if key == "heavy" else int(value)
        except ValueError:
            raise UsageError(f"{text!r}: {key} must be a number, got {value!r}.") from None
        low, high = RANGES[key]
        if not low <= values[key] <= high:
            raise UsageError(f"{text!r}: {key} must be from {low} to {high}, got {value}.")
    recipe = Layered(**values)  # type: ignore[arg-type]
    if recipe.depth * recipe.width > 2_000_000:
        raise UsageError(f"{text!r}: depth x width is limited to 2000000 operators.")
    return recipe


class _Builder:
    """Operators in a topological order, one tensor each."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int, int]] = []  # op, layer, phase, param bytes, coloc
        self.size: list[int] = []
        self.reads: list[list[int]] = []

    def append(
        self, op: int, layer: int, phase: int, size: int, reads: list[int], held: int = 0, coloc: int = -1
    ) -> int:
        """One more operator with its tensor; its id."""
        self.rows.append((op, layer, phase, held, coloc))
        self.size.append(size)
        self.reads.append(sorted(set(reads)))
        return len(self.rows) - 1


def _forward(recipe: Layered, rng: np.random.Generator, made: _Builder) -> list[tuple[int, int | None]]:
    """Forward operators with their parameters, in order."""

    def draw() -> int:
        return max(4, int(recipe.size * rng.lognormal(0, 0.8)) // 4 * 4)

    recent = [made.append(INPUT, 0, FORWARD, draw(), []) for _ in range(recipe.width)]
    found: list[tuple[int, int | None]] = []
    before: list[int] = []
    for layer in range(recipe.depth):
        now = []
        for _ in range(recipe.width):
            pool = recent + before[-recipe.width :]
            reads = rng.choice(pool, min(len(pool), int(rng.integers(1, recipe.fan_in + 1))), replace=False).tolist()
            held = None
            if rng.random() < recipe.heavy:
                size = draw()
                held = made.append(PARAM, layer, FORWARD, size, [], size, len(made.rows))
                op, reads = MM, reads[:1]
            else:
                op = (RELU if rng.random() < 0.8 else SUM) if len(reads) == 1 else (ADD if rng.random() < 0.8 else CAT)
            now.append(made.append(op, layer, FORWARD, draw(), [*reads, *([] if held is None else [held])]))
            found.append((now[-1], held))
        recent, before = now, recent
    return found


def _backward(made: _Builder, forward: list[tuple[int, int | None]]) -> None:
    """A mirrored operator for every forward one, and an update of every parameter."""
    gradients: dict[int, list[int]] = {}
    for v, held in reversed(forward):
        op, layer = made.rows[v][:2]
        arriving = gradients.get(v, [v])
        back = made.append(MM_BACKWARD if op == MM else RELU_BACKWARD, layer, BACKWARD, made.size[v], [*arriving, v])
        for source in made.reads[v]:
            if made.rows[source][0] not in (PARAM, INPUT):
                gradients.setdefault(source, []).append(back)
        if held is not None:
            made.append(SGD, layer, UPDATE, made.size[held], [back, held], 0, held)


def generate_graph(text: str) -> DataflowGraph:
    """The graph of a recipe; times are those of the roofline.

    >>> generate_graph("layered:depth=2,width=2,train=0,heavy=0").nodes
    6
    """
    recipe = parse_recipe(text)
    rng = np.random.default_rng(recipe.seed)
    made = _Builder()
    forward = _forward(recipe, rng, made)
    if recipe.train:
        _backward(made, forward)
    op, layer, phase, held, coloc = (np.array(column) for column in zip(*made.rows, strict=True))
    size = np.array(made.size, np.int64)
    inputs = np.array([sum(made.size[u] for u in reads) for reads in made.reads], np.int64)
    idle = (op == PARAM) | (op == INPUT)
    traffic = np.where(idle, 0, inputs + size)
    heavy = (op == MM) | (op == MM_BACKWARD)
    flops = np.where(idle, 0, np.where(heavy, 200 * size, size // 4)).astype(np.int64)
    dst = np.repeat(np.arange(len(op)), [len(reads) for reads in made.reads])
    return DataflowGraph(
        name=text, devices=recipe.devices, op_types=OP_TYPES, op_class=np.array(OP_CLASS, np.int8),
        op=op.astype(np.int32), time_ns=np.where(idle, 0, Roofline().times(flops, traffic)).astype(np.int64),
        flops=flops, traffic=traffic, param_bytes=held.astype(np.int64), layer=layer.astype(np.int32),
        phase=phase.astype(np.int8), coloc=coloc.astype(np.int32), tensor_src=np.arange(len(op), dtype=np.int32),
        tensor_bytes=size, edge_tensor=np.array([u for reads in made.reads for u in reads], np.int32),
        edge_dst=dst.astype(np.int32),
        time_cpu_ns=np.zeros(0, np.int64), human_expert=np.zeros(0, np.int32), family="layered",
        task="train" if recipe.train else "infer", config=text.partition(":")[2], source="generated", licence="MIT",
        time_model="p100",
    )  # fmt: skip


def random_graph(text: str, rng: np.random.Generator) -> DataflowGraph:
    """A graph of a recipe with a seed that is drawn."""
    joint = "," if ":" in text else ":"
    return generate_graph(f"{text}{joint}seed={int(rng.integers(2**31))}")
