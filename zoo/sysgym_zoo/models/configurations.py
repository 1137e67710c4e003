"""Configurations of the models, of which the packaged set `configurations` is traced.

`python -m sysgym_zoo.embed dataflow` builds each model of the table with the depth, width, batch, length and branching
named there, without weights, and packages its graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_zoo import models
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module
from sysgym_zoo.tools.tracing.command import SOURCE

DEVICES = (2, 4, 8)


class Configuration(NamedTuple):
    """A model with its arguments."""

    split: str
    model: str
    arguments: dict[str, int]
    train: bool = True

    @property
    def name(self) -> str:
        """Model and arguments, `gnmt-layers2-steps4`."""
        words = [f"{key}{value}" for key, value in self.arguments.items()]
        return "-".join([self.model, *words, *([] if self.train else ["infer"])])


def grid(split: str, model: str, *axes: dict[str, int], train: bool = True) -> Iterator[Configuration]:
    """One configuration of these arguments each."""
    return (Configuration(split, model, each, train) for each in axes)


def crossed(**values: tuple[int, ...]) -> list[dict[str, int]]:
    """Every combination."""
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def table() -> list[Configuration]:
    """All configurations; no model stands in two splits."""
    recurrent = ({"batch": 64, "hidden": 1024}, {"batch": 32, "hidden": 2048}, {"batch": 128, "hidden": 512})
    large = {"width": 1024, "heads": 16}
    unrolled = [{"layers": n, "steps": t} for n in (1, 2, 3, 4, 6) for t in ((4, 6) if n == 6 else (4, 8))]
    lengths = [{"layers": n, "steps": t} for n, ts in ((2, (4, 6, 8)), (3, (3, 5)), (4, (3, 4, 6)), (6, (2, 3)))
               for t in ts]  # fmt: skip
    random = [
        {"stages": s, "nodes": n, "branching": b, "channels": (32, 64, 96)[i % 3], "batch": (16, 32, 64)[i // 3 % 3],
         "seed": i}
        for i, (s, n, b) in enumerate(product((2, 3, 4), (8, 12, 16), (2, 3, 5)))
    ]  # fmt: skip
    return [
        *grid("train", "rnnlm", *({**a, **b} for a, b in product(unrolled, recurrent))),
        *grid("train", "gnmt", *({**a, **b} for a, b in product(lengths, (recurrent[0], recurrent[2])))),
        *grid("train", "amoebanet", *crossed(depth=(3,), filters=(128, 192, 256), batch=(16, 64))),
        *grid("train", "amoebanet", *crossed(depth=(6,), filters=(128, 256), batch=(32,))),
        *grid("train", "amoebanet", *crossed(depth=(3, 6), filters=(192,), batch=(8, 128)), train=False),
        *grid("train", "wired", *random),
        *grid("train", "towers", *({**a, "width": w, "batch": b} for a in crossed(tables=(8, 16, 24), depth=(2, 3, 4))
                                   for w, b in ((128, 8192), (512, 2048)))),
        *grid("train", "resnet50", *crossed(batch=(8, 64))),
        *grid("train", "inception_v3", *crossed(batch=(16, 128))),
        *grid("train", "inception_v3", *crossed(batch=(8, 128)), train=False),
        *grid("valid", "wavenet", *crossed(stacks=(1, 2, 3), depth=(5, 8), samples=(4000,))),
        *grid("valid", "bert_base", *crossed(layers=(4, 8), steps=(64, 256)), {"layers": 12, **large}),
        *grid("test", "transformer_xl", *crossed(layers=(2, 4), segments=(2, 6), batch=(16, 64)), {"layers": 8}),
        *grid("test", "gpt2", *crossed(layers=(6, 12), batch=(4,), steps=(256, 1024)), {"layers": 24, **large}),
        *grid("test", "experts", *crossed(layers=(2, 4), branching=(4, 8, 16))),
    ]  # fmt: skip


def graphs() -> Iterator[tuple[Configuration, DataflowGraph]]:
    """Every configuration with its graph, for 2, 4 and 8 devices in turn."""
    for number, given in enumerate(table()):
        yield given, traced(given, number)


def traced(given: Configuration, number: int) -> DataflowGraph:
    """The graph of the configuration in a row of the table."""
    module, inputs = getattr(models, given.model)(**given.arguments)
    config = " ".join(f"{key}={value}" for key, value in given.arguments.items())
    devices = DEVICES[(number + number // len(DEVICES)) % len(DEVICES)]
    heading = Heading(given.name, devices, given.train, source=SOURCE, config=config, family=given.model)
    return replace(trace_module(module, inputs, heading, None), licence="MIT")
