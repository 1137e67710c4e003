"""Generated chips with a known optimum: square macros on a hidden grid, each wired to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, PIN, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.instance import Chip
from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array


@dataclass(frozen=True)
class Tiles:
    """A recipe `tiles:rows=4,columns=4,...`.

    rows x columns macros of side 10 are wired to their neighbours at their centres. Two squares that do not overlap
    are at least a side apart, so the macro-only wirelength is at least 10 times the weight of these nets, which the
    hidden grid attains (`optimum`). `slack` more rows and columns make the canvas larger; `pitch` cells a macro make
    its grid; each of `soft` soft macros hangs on a few neighbouring macros, each of `ports` on one macro.
    """

    rows: int = 3
    columns: int = 3
    slack: int = 1
    pitch: int = 1
    soft: int = 2
    ports: int = 4
    seed: int = 0


SIDE = 10.0
FAMILIES = ("tiles", "modules")
LIMITS = {"rows": (1, 64), "columns": (1, 64), "slack": (0, 64), "pitch": (1, 16), "soft": (0, 4096),
          "ports": (0, 4096), "seed": (0, 2**31 - 1)}  # fmt: skip


def is_recipe(name: str) -> bool:
    """Whether a name looks like a recipe."""
    return name.partition(":")[0] in FAMILIES


def parse_recipe(text: str) -> Tiles:
    """The recipe in a text; UsageError names what is wrong."""
    given: dict[str, int] = {}
    for pair in filter(None, text.partition(":")[2].split(",")):
        key, _, value = pair.partition("=")
        if key not in LIMITS:
            raise unknown("parameter of tiles", key, [item.name for item in fields(Tiles)])
        low, high = LIMITS[key]
        if not (value.isascii() and value.isdigit() and low <= int(value) <= high):
            raise UsageError(f"parameter {key} of tiles must be a whole number from {low} to {high}, got {value!r}.")
        given[key] = int(value)
    return Tiles(**given)


def _links(recipe: Tiles, rng: np.random.Generator) -> list[tuple[float, list[int]]]:
    """Nets as (weight, bodies), driver first: macros 0.., then soft macros, then ports."""
    rows, columns = recipe.rows, recipe.columns
    nets: list[tuple[float, list[int]]] = []
    for r in range(rows):
        for c in range(columns):
            for down, right in ((0, 1), (1, 0)):
                if r + down < rows and c + right < columns:
                    nets.append((float(rng.integers(1, 4)), [r * columns + c, (r + down) * columns + c + right]))
    many = rows * columns
    for k in range(recipe.soft):
        r, c = int(rng.integers(rows)), int(rng.integers(columns))
        near = {r * columns + c, r * columns + min(c + 1, columns - 1), min(r + 1, rows - 1) * columns + c}
        nets += [(1.0, [many + k, macro]) for macro in sorted(near)]
        if k:
            nets.append((1.0, [many + k - 1, many + k]))
    for k in range(recipe.ports):
        nets.append((1.0, [many + recipe.soft + k, int(rng.integers(many))]))
    return nets


def _names(recipe: Tiles) -> list[str]:
    tiles = [f"tile{i}" for i in range(recipe.rows * recipe.columns)]
    return [*tiles, *(f"Grp_{i}" for i in range(recipe.soft)), *(f"port{i}" for i in range(recipe.ports))]


def generate_chip(text: str) -> Chip:
    """The chip of a recipe: of `tiles`, or of `modules` (`generate_modules`)."""
    if text.partition(":")[0] == "modules":
        from sysgym.chip_placement.generate_modules import generate_modules

        return generate_modules(text)
    recipe = parse_recipe(text)
    rng = np.random.default_rng(recipe.seed)
    tiles = recipe.rows * recipe.columns
    names = _names(recipe)
    nets = _links(recipe, rng)
    if not nets:
        raise UsageError(f"{text!r} has no net; give it two macros, soft macros or ports.")
    shuffled = rng.permutation(tiles)  # the order of the file says nothing about the hidden grid
    place = np.arange(len(names))
    place[shuffled] = np.arange(tiles)
    width, height = (recipe.columns + recipe.slack) * SIDE, (recipe.rows + recipe.slack) * SIDE
    canvas = Canvas(width, height, (recipe.columns + recipe.slack) * recipe.pitch,
                    (recipe.rows + recipe.slack) * recipe.pitch)  # fmt: skip
    kind = np.repeat([HARD, SOFT, PORT], [tiles, recipe.soft, recipe.ports]).astype(np.int8)
    room = width * height - tiles * SIDE**2
    soft_side = np.sqrt(0.5 * room / max(recipe.soft, 1)) if room else 1.0
    side = np.select([kind == HARD, kind == SOFT], [SIDE, min(soft_side, SIDE)], 0.0)
    x, y = np.full(len(names), width / 2), np.full(len(names), height / 2)
    ports = np.flatnonzero(kind == PORT)
    along = rng.uniform(0.05, 0.95, len(ports))
    edge = rng.integers(0, 4, len(ports))
    x[ports] = np.select([edge == 0, edge == 1], [0.0, width * (1 - 1e-9)], along * width)
    y[ports] = np.select([edge == 2, edge == 3], [0.0, height * (1 - 1e-9)], along * height)
    placed = [(weight, [int(place[i]) for i in bodies]) for weight, bodies in nets]
    return _with_pins(text, names, (kind, side, x, y), placed, canvas)


def _with_pins(
    name: str, names: list[str], bodies_at: tuple[Array, Array, Array, Array], nets: list[tuple[float, list[int]]],
    canvas: Canvas,
) -> Chip:  # fmt: skip
    """Give every macro on a net a pin in its middle, and every port its place; `bodies_at`: kinds, sides, x and y."""
    kind, side, x, y = bodies_at
    count = len(names)
    pin_names: list[str] = []
    parents: list[int] = []
    pins, ptr, weights = [], [0], []
    for weight, bodies in nets:
        for body in bodies:
            if kind[body] == PORT:
                pins.append(body)
                continue
            pins.append(count + len(parents))
            pin_names.append(f"{names[body]}/p{len(parents)}")
            parents.append(body)
        ptr.append(len(pins))
        weights.append(1.0 if kind[bodies[0]] == PORT else weight)
    parent = np.array([*range(count), *parents], np.int32)
    more = np.zeros(len(parents))
    full = np.append(kind, np.full(len(parents), PIN)).astype(np.int8)
    netlist = Netlist(
        name, full, np.append(side, more), np.append(side, more), x[parent], y[parent],
        np.zeros(len(parent), np.int8), parent, np.zeros(len(parent)), np.zeros(len(parent)),
        np.array(ptr, np.int64), np.array(pins, np.int32), np.array(weights), (*names, *pin_names),
    )  # fmt: skip
    fixed = (full == PORT)[parent]
    placement = Placement(x[parent], y[parent], np.zeros(len(parent), np.int8), np.ones(len(parent), bool), fixed)
    return Chip(name, netlist, canvas, placement)


def optimum(text: str) -> float:
    """Least macro-only wirelength of a recipe, in microns."""
    recipe = parse_recipe(text)
    tiles = recipe.rows * recipe.columns
    nets = _links(recipe, np.random.default_rng(recipe.seed))
    return SIDE * sum(weight for weight, bodies in nets if max(bodies) < tiles)
