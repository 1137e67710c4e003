"""Workloads by name, by recipe and from files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from sysgym.accelerator_design.instance import Workloads, joined
from sysgym.accelerator_design.scalesim import read_topology
from sysgym.accelerator_design.space import indices
from sysgym.accelerator_design.workloads.builder import ADD, BIAS, RELU, Builder
from sysgym.accelerator_design.workloads.drawn import mixed
from sysgym.accelerator_design.workloads.files import is_workload_file, read_workload
from sysgym.accelerator_design.workloads.language import bert, detector, recogniser
from sysgym.accelerator_design.workloads.vision import (
    SCALES,
    efficientnet,
    mobilenet_v1,
    mobilenet_v2,
    resnet50,
    resnet50v2,
)
from sysgym.core.errors import UsageError, shortened, unknown
from sysgym.core.instances import as_promised, find_entry, load_index, no_instance
from sysgym.core.problem import Array

TOPIC = "accelerator"
NETWORKS: dict[str, Callable[[], Workloads]] = {
    **{f"efficientnet-{name}": lambda name=name: efficientnet(name) for name in SCALES},  # type: ignore[misc]
    "mobilenet-v1": mobilenet_v1, "mobilenet-v2": mobilenet_v2, "resnet50": resnet50, "resnet50v2": resnet50v2,
    "bert-base-128": lambda: bert(128), "bert-base-1024": lambda: bert(1024), "ocr-rpn-like": detector,
    "ocr-recognizer-like": recogniser,
}  # fmt: skip
MULTI5 = ("efficientnet-b7", "resnet50v2", "ocr-rpn-like", "ocr-recognizer-like", "bert-base-1024")
"""FAST's set of five (ASPLOS 2022), as recalled."""
RECIPES = ("bert", "cnn", "mixed")
WIDEST = 2048  # channels of a small network
TINY_BLOCKS = 2  # of the networks of the set `cnns`


def small_cnn(seed: int, blocks: int = 3) -> Workloads:
    """A small convolutional network drawn from a seed: dense, depthwise and residual blocks at 32 x 32 to 96 x 96."""
    rng = np.random.default_rng(seed)
    net = Builder(f"cnn:seed={seed},blocks={blocks}")
    side = int(rng.choice([32, 48, 64, 96]))
    x = net.conv("stem", net.input(side, side, 3), int(rng.choice([16, 24, 32])), 3, 2, ops=BIAS + RELU)
    for i in range(blocks):
        channels, start, kernel = x.shape[-1], x, int(rng.choice([3, 5]))
        if rng.random() < 0.6:
            x = net.conv(f"b{i}.expand", x, channels * int(rng.choice([2, 4, 6])), ops=BIAS + RELU)
            x = net.depthwise(f"b{i}.dw", x, kernel, 1, BIAS + RELU)
            x = net.conv(f"b{i}.project", x, channels, ops=BIAS + ADD, more=[start])
        else:
            x = net.conv(f"b{i}.conv", x, min(2 * channels, WIDEST), 3, 2, ops=BIAS + RELU)
    x = net.vector("avgpool", [x], (1, 1, x.shape[-1]), x.elems)
    net.matmul("fc", x, 100)
    return net.finish()


@lru_cache(maxsize=64)
def _made(name: str) -> Workloads:
    """A registered workload, with the content that the index promises."""
    sets = load_index(TOPIC)
    entry = find_entry(sets, name)
    assert entry is not None
    short = name.partition("/")[2]
    if short == "multi5":
        found = joined(name, [NETWORKS[each]() for each in MULTI5])
    elif short in NETWORKS:
        found = NETWORKS[short]()
    else:
        split, _, number = short.rpartition("-")
        found = small_cnn(1000 * ("train", "valid", "test").index(split) + int(number), TINY_BLOCKS)
    promised: Workloads = as_promised(entry, _renamed(found, name))
    return promised


def _renamed(work: Workloads, name: str) -> Workloads:
    return replace(work, name=name)


@lru_cache(maxsize=1)
def known_designs() -> Array:
    """The best designs of the workloads of `fast/train` that a search has found, (n, 16) rows of the table."""
    rows = json.loads((files("sysgym") / "data" / TOPIC / "designs.json").read_text())
    return np.array([indices(row) for row in rows.values()])


@lru_cache(maxsize=1)
def published_figures() -> tuple[Mapping[str, str], ...]:
    """Figures of the FAST paper, each with "where", "quantity", "value" and "source"."""
    return tuple(json.loads((files("sysgym") / "data" / TOPIC / "published.json").read_text()))


def is_workload(name: str, head: bytes = b"") -> bool:
    """Whether this is a recipe of a workload, a workload's file, or a topology of SCALE-Sim by its header."""
    if (name.partition(":")[0] in RECIPES and ":" in name) or is_workload_file(name, head):
        return True
    first = head.split(b"\n")[0].lower()
    return name.lower().endswith(".csv") and b"ifmap" in first and b"filter" in first


def _numbers(recipe: str, words: str, known: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """The whole numbers that a recipe sets, `key=value,...`; UsageError for unknown keys and numbers out of range."""
    found = {}
    for word in filter(None, words.split(",")):
        key, _, value = word.partition("=")
        if key in found:
            raise UsageError(f"{shortened(recipe, 80)!r} gives {key} twice.")
        if key not in known:
            raise unknown(f"option of {recipe.partition(':')[0]}", key, list(known))
        low, high = known[key]
        whole = value.isascii() and value.isdecimal() and len(value) <= len(str(high))
        if not (whole and low <= int(value) <= high):
            raise UsageError(
                f"{shortened(recipe, 80)!r}: {key} must be a whole number from {low} to {high}, got "
                f"{shortened(value, 40)!r}."
            )
        found[key] = int(value)
    return found


def load_workloads(name: str) -> Workloads:
    """Workloads by registered name (`fast/efficientnet-b3`), recipe (`bert:tokens=256`, `cnn:seed=7,blocks=4`,
    `mixed:seed=7`) or file (a workload, as `sysgym trace --regions` writes it, or a topology of SCALE-Sim).
    """
    sets = load_index(TOPIC)
    if find_entry(sets, name):
        return _made(name)
    family, _, rest = name.partition(":")
    if family in RECIPES and rest:
        if family == "bert":
            return _renamed(bert(_numbers(name, rest, {"tokens": (1, 16_384)}).get("tokens", 128)), name)
        if family == "mixed":
            return _renamed(mixed(_numbers(name, rest, {"seed": (0, 2**31 - 1)}).get("seed", 0)), name)
        given = _numbers(name, rest, {"seed": (0, 2**31 - 1), "blocks": (1, 64)})
        return _renamed(small_cnn(given.get("seed", 0), given.get("blocks", 3)), name)
    if len(name) < 1024 and Path(name).is_file():
        if name.lower().endswith((".json", ".json.gz")):
            return read_workload(Path(name))
        if name.lower().endswith(".onnx"):
            raise UsageError(f"{name} is a model: `sysgym trace {name} --regions -o work.json.gz` makes a workload.")
        if not name.lower().endswith(".csv"):
            raise UsageError(
                f"{name} is no workload by its ending; expected a workload (.json.gz, as `sysgym trace --regions` "
                "writes it) or a SCALE-Sim topology (.csv)."
            )
        return _renamed(read_topology(name), name)
    hint = "a workload (.json.gz, as `sysgym trace --regions` writes it), a SCALE-Sim topology (.csv) or a recipe such"
    raise no_instance(sets, name, f"{hint} as 'bert:tokens=256'")
