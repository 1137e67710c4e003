"""Generated chips that look like clustered designs: modules of equal memories and soft macros, buses of ports.

`tiles` have a known optimum and look like no design. These have none, and the statistics of the public designs that
learners train on (`statistics`; the tests compare the two): few sizes of memories, one or two soft macros at each of
them, hundreds of nets of weight 1 there, soft macros of heavy-tailed areas that drive most nets, weights with a tail,
neighbours mostly of the same module, ports crowded in a few cells of the border.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, PIN, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.instance import Chip
from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array


@dataclass(frozen=True)
class Modules:
    """A recipe `modules:macros=64,soft=300,...`; what it does not name is drawn within DRAWN, from its seed alone.

    `macros` hard ones of `sizes` sizes, in modules; `soft` soft ones; `ports` in a bus or a few. Macros cover `filled`
    percent of the canvas, hard ones 30 to 70 percent of that.
    """

    macros: int
    soft: int
    ports: int
    sizes: int
    filled: int
    seed: int = 0


LIMITS = {"macros": (1, 1024), "soft": (1, 4096), "ports": (0, 8192), "sizes": (1, 16), "filled": (10, 95),
          "seed": (0, 2**31 - 1)}  # fmt: skip
DRAWN = {"macros": (20, 140), "soft": (200, 900), "ports": (200, 1300), "sizes": (1, 3), "filled": (60, 90)}
HARD_PINS, HARD_DRIVES = (70, 160), 0.48  # nets of a hard macro, and the share that it drives
SOFT_NETS = 15.0  # nets that a soft macro drives, on average
SINKS = 0.66  # chance of each further sink of a net
OWN, SIBLING = 0.75, 0.2  # partners of a soft macro in its own module, in one next to it
ONE_BUS, LEFT = 0.7, 0.4  # chances of a single bus, and of the left side
CELLS = (450, 1500)  # of the grid


def parse_modules(text: str) -> Modules:
    """The recipe in a text; UsageError names what is wrong."""
    given: dict[str, int] = {}
    for pair in filter(None, text.partition(":")[2].split(",")):
        key, _, value = pair.partition("=")
        if key not in LIMITS:
            raise unknown("parameter of modules", key, [item.name for item in fields(Modules)])
        low, high = LIMITS[key]
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise UsageError(f"parameter {key} of modules must be a whole number from {low} to {high}, got {value!r}.")
        given[key] = int(value)
    rng = np.random.default_rng([given.get("seed", 0), 1])  # not that of the chip
    drawn = {key: int(rng.integers(low, high + 1)) for key, (low, high) in DRAWN.items()}
    return Modules(**{**drawn, **given})


def _module_of(count: int, modules: int, rng: np.random.Generator) -> Array:
    """Modules of `count` things in order, (count,) int64, of unequal shares."""
    share = np.cumsum(rng.dirichlet(np.full(modules, 3.0)))
    return np.minimum(np.searchsorted(share, (np.arange(count) + 0.5) / max(count, 1)), modules - 1)


def _partners(home: Array, modules: int, rng: np.random.Generator) -> list[Array]:
    """Soft macros that each soft macro drives: a heavy-tailed number, mostly near it in its module."""
    count, found = len(home), []
    many = np.minimum(1 + rng.lognormal(2.05, 0.7, count).astype(np.int64), 60)
    for k in range(count):
        kind = rng.random(many[k])
        near = k + np.round(rng.laplace(0, 6, many[k])).astype(np.int64)
        first = np.searchsorted(home, (home[k] + rng.choice((-1, 1), many[k])) % modules)
        beside = first + rng.integers(0, max(count // modules, 1), many[k])
        far = rng.integers(0, count, many[k])
        found.append(np.clip(np.select([kind < OWN, kind < OWN + SIBLING], [near, beside], far), 0, count - 1))
    return found


def _nets(recipe: Modules, rng: np.random.Generator) -> list[tuple[float, list[int]]]:
    """Nets as (weight, bodies), driver first: hard macros 0.., then soft ones, then ports."""
    modules = max(1, round(recipe.macros / rng.uniform(6, 16)))
    soft_home = _module_of(recipe.soft, modules, rng)
    hard_home = _module_of(recipe.macros, modules, rng)
    first, after = recipe.macros, recipe.macros + recipe.soft
    nets: list[tuple[float, list[int]]] = []
    partners = _partners(soft_home, modules, rng)
    drives = rng.gamma(1.0, SOFT_NETS, recipe.soft).astype(np.int64) + 1
    for k in range(recipe.soft):
        sinks = np.minimum(rng.geometric(1 - SINKS, drives[k]), 40)
        weights = np.minimum(np.floor(rng.pareto(1.15, drives[k]) * 0.75) + 1, 40.0)
        for weight, degree in zip(weights, sinks, strict=True):
            chosen = {int(i) for i in rng.choice(partners[k], degree)} - {k}
            if chosen:
                nets.append((float(weight), [first + k, *(first + i for i in sorted(chosen))]))
    pins = int(rng.integers(*HARD_PINS))
    for k in range(recipe.macros):
        own = np.searchsorted(soft_home, hard_home[k])
        room = max(np.searchsorted(soft_home, hard_home[k], side="right") - own, 1)
        along = k - np.searchsorted(hard_home, hard_home[k])
        at = [int(own + (along // 2) % room), int(own + rng.integers(room))][: 1 + int(rng.random() < 0.6)]
        for j in range(pins):
            soft = first + min(at[0 if rng.random() < 0.8 else -1], recipe.soft - 1)
            if j < HARD_DRIVES * pins:
                nets.append((1.0, [k, soft]))
            else:
                nets.append((1.0, [soft, k]))
    bus = np.repeat(rng.integers(0, recipe.soft, 12), 1 + recipe.ports // 12)
    for k in range(recipe.ports):
        soft = first + min(int(bus[k] + rng.integers(0, 8)), recipe.soft - 1)
        nets.append((1.0, [after + k, soft] if k % 2 else [soft, after + k]))
    order = rng.permutation(recipe.soft)  # the order of soft macros in the file says little
    place = np.concatenate([np.arange(first), first + order, np.arange(after, after + recipe.ports)])
    return [(weight, [int(place[i]) for i in bodies]) for weight, bodies in nets]


def _sizes(recipe: Modules, rng: np.random.Generator) -> tuple[Array, Array]:
    """Widths and heights of hard macros, (macros,): one size for each stretch of the file."""
    unit = float(np.exp(rng.uniform(np.log(20), np.log(120))))  # as ASAP7, up to as NanGate45
    area = unit**2 * rng.uniform(0.7, 1.6, recipe.sizes)
    aspect = rng.uniform(1.0, 2.8, recipe.sizes) ** (1 if rng.random() < 0.8 else -1)
    kind = _module_of(recipe.macros, recipe.sizes, rng)
    return np.sqrt(area / aspect)[kind].round(3), np.sqrt(area * aspect)[kind].round(3)


def grid_for(side: float, width: Array, height: Array) -> tuple[int, int]:
    """Columns and rows on which the macros waste least, as Circuit Training's grid is chosen (CELLS limits it)."""
    best, least = (CELLS[0], CELLS[0]), np.inf
    for columns in range(16, 49):
        wide = np.ceil(width * columns / side - 1e-9) / (width * columns / side)
        for rows in range(16, 49):
            if CELLS[0] <= columns * rows <= CELLS[1] and 2 * columns > rows and 2 * rows > columns:
                tall = np.ceil(height * rows / side - 1e-9) / (height * rows / side)
                waste = float((wide * tall).mean()) + 1e-6 * columns * rows
                if waste < least:
                    best, least = (columns, rows), waste
    return best


def generate_modules(text: str) -> Chip:
    """The chip of a recipe; nothing is promised to fit beyond `filled`."""
    recipe = parse_modules(text)
    rng = np.random.default_rng(recipe.seed)
    nets = _nets(recipe, rng)
    width, height = _sizes(recipe, rng)
    hard_area = float((width * height).sum())
    share = rng.uniform(0.3, 0.7)
    side = float(np.sqrt(hard_area / share / (recipe.filled / 100)))
    areas = rng.gamma(2.5, 1.0, recipe.soft)
    areas[rng.random(recipe.soft) < 0.08] *= 0.01
    areas *= hard_area * (1 - share) / share / areas.sum()
    columns, rows = grid_for(side, width, height)
    count = recipe.macros + recipe.soft + recipe.ports
    names = [
        *(f"u_module/mem{i}" for i in range(recipe.macros)), *(f"Grp_{i}" for i in range(recipe.soft)),
        *(f"port{i}" for i in range(recipe.ports)),
    ]  # fmt: skip
    kind = np.repeat([HARD, SOFT, PORT], [recipe.macros, recipe.soft, recipe.ports]).astype(np.int8)
    none = np.zeros(recipe.ports)
    shape = np.concatenate([width, np.sqrt(areas), none]), np.concatenate([height, np.sqrt(areas), none])
    x, y = np.full(count, side / 2), np.full(count, side / 2)
    x[count - recipe.ports :], y[count - recipe.ports :] = _ports(recipe.ports, side, rng)
    return _chip(text, names, kind, (*shape, x, y), nets, Canvas(side, side, columns, rows), rng)


def _ports(count: int, side: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Places of ports: one bus in the middle of one side, or two or three; the left side is the usual one."""
    buses = 1 if rng.random() < ONE_BUS else int(rng.integers(2, 4))
    bus = np.sort(rng.integers(0, buses, count))
    span = rng.uniform(0.1, 0.5, buses)
    at = (rng.uniform(0.3, 0.7, buses) + span * (rng.random((count, 1)) - 0.5))[np.arange(count), bus] * side
    edge = np.where(rng.random(buses) < LEFT, 0, rng.integers(0, 4, buses))[bus]
    end = side * (1 - 1e-9)
    return np.select([edge == 0, edge == 1], [0.0, end], at), np.select([edge == 2, edge == 3], [0.0, end], at)


def _chip(
    name: str, names: list[str], kind: Array, shape: tuple[Array, Array, Array, Array],
    nets: list[tuple[float, list[int]]], canvas: Canvas, rng: np.random.Generator,
) -> Chip:  # fmt: skip
    """Give macros a pin for each net: hard ones along their lower side, soft ones in the middle."""
    width, height, x, y = shape
    body = np.fromiter((b for _, bodies in nets for b in bodies), np.int64)
    sizes = np.fromiter((len(bodies) for _, bodies in nets), np.int64, len(nets))
    port, count = kind[body] == PORT, len(kind)
    parents = body[~port]
    pins = body.copy()
    pins[~port] = count + np.arange(len(parents))
    hard, none = kind[parents] == HARD, np.zeros(len(parents))
    dx = np.where(hard, (rng.random(len(parents)) - 0.5) * width[parents], 0.0)
    dy = np.where(hard, -0.5 * height[parents], 0.0)
    parent = np.append(np.arange(count), parents).astype(np.int32)
    full = np.append(kind, np.full(len(parents), PIN)).astype(np.int8)
    at_x, at_y = np.append(x, x[parents] + dx), np.append(y, y[parents] + dy)
    pin_names = [f"{names[b]}/p{i}" for i, b in enumerate(parents.tolist())]
    facing = np.zeros(len(parent), np.int8)
    netlist = Netlist(
        name, full, np.append(width, none), np.append(height, none), at_x, at_y, facing, parent,
        np.append(np.zeros(count), dx), np.append(np.zeros(count), dy), np.append(0, np.cumsum(sizes)),
        pins.astype(np.int32), np.array([weight for weight, _ in nets]), (*names, *pin_names),
    )  # fmt: skip
    placement = Placement(at_x, at_y, facing.copy(), np.ones(len(parent), bool), (full == PORT)[parent])
    return Chip(name, netlist, canvas, placement)


def statistics(chip: Chip) -> dict[str, float]:
    """What designs and generated chips are compared by: plain numbers of a chip."""
    bodies, many = chip.bodies, len(chip.macros)
    kind = np.full(len(bodies.node), 2)
    kind[:many] = np.where(bodies.hard[:many], 0, 1)
    area, degree, first = (bodies.width * bodies.height)[:many], np.diff(bodies.ptr), kind[bodies.body[bodies.ptr[:-1]]]
    canvas, soft = chip.canvas, area[kind[:many] == 1]
    links = np.bincount(chip.graph.edge_index[0], minlength=len(chip.graph.nodes))
    nets_of = np.diff(bodies.net_ptr)
    found = {
        "macros": (kind == 0).sum(), "soft": (kind == 1).sum(), "ports": (kind == 2).sum(),
        "port clusters": len(chip.graph.ports), "cells": canvas.columns * canvas.rows,
        "hard share": area[kind[:many] == 0].sum() / canvas.width / canvas.height,
        "filled": area.sum() / canvas.width / canvas.height,
        "soft area spread": soft.std() / soft.mean(), "net degree": degree.mean(),
        "net degree, 99 %": np.percentile(degree, 99),
        "weight of soft macros' nets": bodies.weight[first == 1].mean(),
        "weight, 99 %": np.percentile(bodies.weight, 99),
        "nets driven by hard macros": (first == 0).mean(), "nets driven by ports": (first == 2).mean(),
        "nets of a hard macro": np.median(nets_of[kind == 0]), "nets of a soft macro": np.median(nets_of[kind == 1]),
        "neighbours of a hard macro": np.median(links[:many][kind[:many] == 0]),
        "neighbours of a soft macro": np.median(links[:many][kind[:many] == 1]),
    }  # fmt: skip
    return {name: float(value) for name, value in found.items()}
