"""Macro-only wirelength, the wire mask and its action mode against slow definitions."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from public import IBM01, needs

from sysgym import UsageError
from sysgym.chip_placement.formats.bookshelf import read_bookshelf
from sysgym.chip_placement.formats.netlist import HARD, ORIENTATIONS, SOFT, parse_netlist
from sysgym.chip_placement.formats.plc import Canvas, netlist_placement
from sysgym.chip_placement.geometry.wire import ORDERS, macro_hpwl, macro_nets, placing_order, wire
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.modes.wiremask import WireMaskMode
from sysgym.core.problem import Size


def node(name: str, kind: str, *inputs: str, **values: Any) -> str:
    """A node of a netlist file."""
    attributes = {"type": kind, **values}
    lines = [f'  name: "{name}"', *(f'  input: "{item}"' for item in inputs)]
    for key, value in attributes.items():
        shown = f'placeholder: "{value}"' if isinstance(value, str) else f"f: {value}"
        lines += ["  attr {", f'    key: "{key}"', "    value {", f"      {shown}", "    }", "  }"]
    return "\n".join(["node {", *lines, "}"]) + "\n"


def random_chip(seed: int, fixed: int = 0, scale: float = 1.0) -> Chip:
    """Nine hard macros, two soft ones and a port, nets at random, several pins of a macro on some; 13 x 11 cells."""
    rng = np.random.default_rng(seed)
    macros = [f"M{i}" for i in range(9)] + ["Grp_9", "Grp_10"]
    sinks, text = [f"{name}/in{p}" for name in macros for p in range(2)], ""
    for name in macros:
        x, y = rng.uniform(0, 1, 2) * (100, 80)
        facing = ORIENTATIONS[int(rng.integers(8))] if name[0] == "M" else "N"
        wide, tall = scale * rng.uniform(4, 22, 2)
        text += node(name, "MACRO", width=wide, height=tall, x=x, y=y, orientation=facing)
        for p in range(2):
            text += node(f"{name}/in{p}", "MACRO_PIN", macro_name=name, x_offset=rng.uniform(-2, 2), y_offset=1.5)
        for p in range(2):
            chosen = rng.choice(sinks, int(rng.integers(1, 6)), replace=False)
            text += node(f"{name}/out{p}", "MACRO_PIN", *chosen, macro_name=name, weight=float(rng.integers(1, 4)),
                         x_offset=rng.uniform(-2, 2), y_offset=rng.uniform(-2, 2))  # fmt: skip
    text += node("port", "PORT", "M0/in0", "Grp_9/in1", "M3/in1", side="LEFT", x=0.0, y=50.0)
    netlist = parse_netlist(text, f"random{seed}")
    placement = netlist_placement(netlist)
    held = placement.fixed.copy()
    held[np.flatnonzero(netlist.kind == HARD)[:fixed]] = True
    blockages = ((30.0, 30.0, 41.0, 37.0, 1.0),) if seed % 2 else ()
    canvas = Canvas(100.0, 80.0, 13, 11, blockages=blockages)
    return Chip(netlist.name, netlist, canvas, replace(placement, fixed=held[netlist.parent]))


def ibm01() -> Chip:
    return Chip("ibm01", *read_bookshelf(IBM01))


def turned(a: float, b: float, facing: int) -> tuple[float, float]:
    """An offset as its macro stands: quarter turns clockwise N, E, S, W, then mirrored where F."""
    name = ORIENTATIONS[facing]
    for _ in range("NESW".index(name[-1])):
        a, b = b, -a
    return (-a if name[0] == "F" else a), b


def slow_hpwl(chip: Chip, at: dict[int, tuple[float, float, int]]) -> float:
    """HPWL by its definition over the macros of `at`: node -> x, y, orientation."""
    netlist, total = chip.netlist, 0.0
    for e in range(netlist.nets):
        first: dict[int, tuple[float, float]] = {}
        everyone = set()
        for v in netlist.pins[netlist.ptr[e] : netlist.ptr[e + 1]].tolist():
            owner = int(netlist.parent[v])
            if netlist.kind[owner] != HARD:
                continue
            everyone.add(owner)
            if owner in at and owner not in first:
                x, y, facing = at[owner]
                a, b = turned(netlist.x_offset[v], netlist.y_offset[v], facing)
                first[owner] = x + a, y + b
        if len(everyone) >= 2 and first:
            points = np.array(list(first.values()))
            total += netlist.weight[e] * float(np.ptp(points, axis=0).sum())
    return total


def placed(chip: Chip, mode: WireMaskMode, state: Any) -> dict[int, tuple[float, float, int]]:
    """What a state has placed, fixed macros included, from its solution."""
    found, rows = mode.solution(chip, state), mode.nodes(chip, state)
    return {int(v): (found["x"][i], found["y"][i], int(found["orientation"][i]))
            for i, v in enumerate(chip.macros) if rows[i, 4]}  # fmt: skip


def box(chip: Chip, node: int, at: tuple[float, float, int]) -> tuple[float, float, float, float]:
    """Left, right, low, high of a macro as it stands."""
    wide, tall = chip.netlist.width[node], chip.netlist.height[node]
    if ORIENTATIONS[at[2]][-1] in "EW":
        wide, tall = tall, wide
    return at[0] - wide / 2, at[0] + wide / 2, at[1] - tall / 2, at[1] + tall / 2


def is_legal(chip: Chip, solution: Any) -> bool:
    """Whether hard macros lie inside the canvas and share no area, in real coordinates."""
    boxes = [box(chip, int(v), (solution["x"][i], solution["y"][i], int(solution["orientation"][i])))
             for i, v in enumerate(chip.macros) if chip.netlist.kind[v] == HARD]  # fmt: skip
    left, right, low, high = np.array(boxes).T
    inside = left.min() > -1e-6 and low.min() > -1e-6
    inside &= right.max() < chip.canvas.width + 1e-6 and high.max() < chip.canvas.height + 1e-6
    wide = np.minimum.outer(right, right) - np.maximum.outer(left, left)
    tall = np.minimum.outer(high, high) - np.maximum.outer(low, low)
    meet = (wide > 1e-6) & (tall > 1e-6)
    return bool(inside and meet.sum() == np.trace(meet))


def slow_mask(chip: Chip, current: int, at: dict[int, tuple[float, float, int]]) -> np.ndarray:
    """Cells of the grid where a block of whole cells is inside and meets no cell that something placed overlaps."""
    canvas = chip.canvas
    w, h = canvas.width / canvas.columns, canvas.height / canvas.rows
    taken = np.zeros((canvas.rows, canvas.columns), bool)
    things = [box(chip, v, where) for v, where in at.items()]
    for left, right, low, high in [*things, *((b[0], b[2], b[1], b[3]) for b in canvas.blockages)]:
        for r in range(canvas.rows):
            for c in range(canvas.columns):
                wide = min(right, (c + 1) * w) - max(left, c * w)
                tall = min(high, (r + 1) * h) - max(low, r * h)
                taken[r, c] |= wide > 1e-6 and tall > 1e-6
    wide = int(np.ceil(chip.netlist.width[current] / w - 1e-9))
    tall = int(np.ceil(chip.netlist.height[current] / h - 1e-9))
    mask = np.zeros_like(taken)
    for r in range(canvas.rows - tall + 1):
        for c in range(canvas.columns - wide + 1):
            mask[r, c] = not taken[r : r + tall, c : c + wide].any()
    return mask


@pytest.mark.parametrize("seed", range(6))
def test_hpwl_equals_its_definition(seed: int) -> None:
    chip = random_chip(seed)
    nets, macros, rng = macro_nets(chip.netlist), chip.macros, np.random.default_rng(seed)
    x, y = rng.uniform(-10, 110, (2, len(macros)))
    facing = rng.integers(8, size=len(macros))
    at = {int(v): (x[i], y[i], int(facing[i])) for i, v in enumerate(macros)}
    assert macro_hpwl(nets, x, y, facing) == pytest.approx(slow_hpwl(chip, at), rel=1e-12)
    assert (np.diff(nets.ptr) >= 2).all()
    for i in range(len(macros)):  # both directions name the same pairs
        mine = nets.at[nets.span[i] : nets.span[i + 1]]
        assert (nets.macro[mine] == i).all()
        assert (np.searchsorted(nets.ptr, mine, side="right") - 1 == nets.net_of[nets.span[i] : nets.span[i + 1]]).all()
    assert nets.span[-1] == len(nets.macro)
    soft = chip.netlist.kind[macros] == SOFT
    assert soft.any() and not np.isin(np.flatnonzero(soft), nets.macro).any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(6))
def test_masks_wire_and_cost_equal_brute_force_all_along(seed: int, order: str) -> None:
    """Fixed macros in any orientation and blockages stand in the way of half the cases."""
    chip = random_chip(seed, fixed=seed % 3, scale=0.7)
    mode, rng = WireMaskMode(order), np.random.default_rng(seed)
    size = Size(len(chip.macros), 0, (chip.canvas.rows, chip.canvas.columns))
    state, steps = mode.start(chip, rng), 0
    w, h = chip.canvas.cell
    half = chip.canvas.width + chip.canvas.height
    while not mode.done(chip, state):
        focus = mode.focus(chip, state)
        current, at = int(chip.macros[focus]), placed(chip, mode, state)
        mask, (features, nodes) = mode.mask(chip, state, size), mode.candidates(chip, state, size)
        assert np.array_equal(mask.reshape(11, 13), slow_mask(chip, current, at))
        assert (nodes == focus).all() and nodes.shape == (143,) and features.shape == (143, 3)
        before = slow_hpwl(chip, at)
        assert mode.cost(chip, state) == pytest.approx(before, rel=1e-9, abs=1e-9)
        for action in rng.choice(143, 12, replace=False).tolist():
            row, column = divmod(action, 13)
            assert mode.legal(chip, state, action, size) == mask[action]
            centre = column * w + chip.netlist.width[current] / 2, row * h + chip.netlist.height[current] / 2
            more = slow_hpwl(chip, {**at, current: (*centre, 0)}) - before
            assert features[action, 0] == pytest.approx(more / half, rel=1e-5, abs=1e-6)
            assert features[action, 1:] == pytest.approx([column / 13, row / 11], rel=1e-6)
        shown = mode.nodes(chip, state)
        assert shown[:, 5].tolist() == [float(i == focus) for i in range(len(shown))]
        assert not shown[chip.netlist.kind[chip.macros] == SOFT].any()
        state = mode.step(chip, state, rng.choice(np.flatnonzero(mask)))
        steps += 1
    assert steps == 9 - seed % 3 and mode.focus(chip, state) == -1 and mode.globals(chip, state)[-1] == 1
    found = mode.solution(chip, state)
    assert mode.cost(chip, state) == macro_hpwl(wire(chip).nets, **found)
    assert mode.cost(chip, state) == pytest.approx(slow_hpwl(chip, placed(chip, mode, state)), rel=1e-12)
    held = chip.placement.fixed[chip.macros]
    assert np.array_equal(found["orientation"][held], chip.placement.orientation[chip.macros][held])
    assert np.flatnonzero(mode.mask(chip, state, size)).tolist() == [0]


def test_orders_say_what_they_are() -> None:
    chip = random_chip(0, fixed=1)
    rows, tables = wire(chip).movable.tolist(), wire(chip)
    area = tables.width * tables.height
    on = [[int(e) for e in tables.nets.net_of[tables.nets.span[i] : tables.nets.span[i + 1]]] for i in range(11)]
    members = [tables.nets.macro[a:b].tolist() for a, b in zip(tables.nets.ptr, tables.nets.ptr[1:], strict=False)]
    assert placing_order(chip, "netlist").tolist() == rows == list(range(1, 9))
    assert placing_order(chip, "area").tolist() == sorted(rows, key=lambda i: -area[i])
    score = [sum(sum(area[j] for j in members[e]) for e in on[i]) for i in range(11)]
    assert placing_order(chip, "nets").tolist() == sorted(rows, key=lambda i: -score[i])
    out, left, weight = [0], rows.copy(), tables.nets.weight
    while left:  # node 0 is fixed, so its nets are begun
        begun = {e for i in out for e in on[i]}
        best = max(left, key=lambda i: (sum(weight[e] for e in on[i] if e in begun), sum(weight[on[i]]), area[i]))
        out.append(best)
        left.remove(best)
    assert placing_order(chip, "connected").tolist() == out[1:]
    drawn = [placing_order(chip, "random", np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and sorted(drawn[0]) == rows


def test_a_dead_end_ends_the_episode_and_overlaps() -> None:
    """Two macros of six columns in a grid of ten: the second fits only if the first stands at the border."""
    text = node("A", "MACRO", width=6.0, height=6.0, x=0.0, y=0.0)
    text += node("B", "MACRO", "A", width=4.0, height=6.0, x=0.0, y=0.0)
    netlist = parse_netlist(text, "two")
    chip = Chip("two", netlist, Canvas(10.0, 6.0, 10, 6), netlist_placement(netlist))
    mode, size, rng = WireMaskMode("area"), Size(2, 0, (6, 10)), np.random.default_rng(0)
    good = mode.step(chip, mode.start(chip, rng), 0)
    assert not mode.done(chip, good) and np.flatnonzero(mode.mask(chip, good, size)).tolist() == [6]
    good = mode.step(chip, good, 6)
    assert mode.done(chip, good) and is_legal(chip, mode.solution(chip, good))
    assert mode.cost(chip, good) == 5.0
    dead = mode.step(chip, mode.start(chip, rng), 2)
    found = mode.solution(chip, dead)
    assert mode.done(chip, dead) and found["x"].tolist() == [5.0, 2.0] and found["y"].tolist() == [3.0, 3.0]
    assert mode.cost(chip, dead) == 3.0 == macro_hpwl(wire(chip).nets, **found)
    assert not is_legal(chip, found)
    assert np.flatnonzero(mode.mask(chip, dead, size)).tolist() == [0] and mode.focus(chip, dead) == -1
    assert mode.globals(chip, dead)[-1] == 0.5
    assert mode.step(chip, dead, 0) is dead and dead.count == 1
    tight = Chip("tight", netlist, Canvas(5.0, 5.0, 5, 5), netlist_placement(netlist))
    state = mode.start(tight, rng)  # nothing fits from the beginning
    assert mode.done(tight, state) and mode.mask(tight, state, Size(2, 0, (5, 5))).sum() == 1


def test_padding_stride_and_strange_actions() -> None:
    chip, rng = random_chip(1), np.random.default_rng(0)
    size = Size(len(chip.macros), 0, (14, 16))
    plain, wide = WireMaskMode(), WireMaskMode(stride=16)
    states = plain.start(chip, rng), wide.start(chip, rng)
    assert plain.action_space(size) == wide.action_space(size)
    masks = plain.mask(chip, states[0], size), wide.mask(chip, states[1], size)
    found = plain.candidates(chip, states[0], size)[0], wide.candidates(chip, states[1], size)[0]
    assert masks[0].shape == masks[1].shape == (224,) and found[0].shape == found[1].shape == (224, 3)
    assert not masks[0][143:].any() and not masks[1].reshape(14, 16)[11:].any()
    assert np.array_equal(masks[0][:143].reshape(11, 13), masks[1].reshape(14, 16)[:11, :13])
    assert np.array_equal(found[0][:143].reshape(11, 13, 3), found[1].reshape(14, 16, 3)[:11, :13])
    assert masks[1].sum() == masks[0].sum() > 0
    for mode, state, mask in zip((plain, wide), states, masks, strict=True):
        assert [mode.legal(chip, state, a, size) for a in range(224)] == mask.astype(bool).tolist()
        assert not mode.legal(chip, state, -1, size) and not mode.legal(chip, state, 10**6, size)
    row, column = np.argwhere(masks[1].reshape(14, 16))[5].tolist()
    ends = plain.step(chip, states[0], row * 13 + column), wide.step(chip, states[1], np.int64(row * 16 + column))
    assert np.array_equal(plain.solution(chip, ends[0])["x"], wide.solution(chip, ends[1])["x"])
    with pytest.raises(UsageError, match="stride"):
        WireMaskMode(stride=12).start(chip, rng)
    with pytest.raises(UsageError, match="connected"):
        WireMaskMode("conected")
    with pytest.raises(UsageError, match="starting solution"):
        plain.start(chip, rng, plain.solution(chip, ends[0]))


def test_copies_are_independent_and_survive_pickling() -> None:
    chip, mode, rng = random_chip(2), WireMaskMode("random"), np.random.default_rng(3)
    size = Size(len(chip.macros), 0, (11, 13))
    state = mode.start(chip, rng)
    for _ in range(3):
        state = mode.step(chip, state, np.flatnonzero(mode.mask(chip, state, size))[0])
    forks = mode.copy(state), pickle.loads(pickle.dumps(state))
    again = pickle.loads(pickle.dumps((chip, mode)))
    before = pickle.dumps(forks[0])
    action = np.flatnonzero(mode.mask(chip, state, size))[-1]
    state = mode.step(chip, state, action)
    assert pickle.dumps(forks[0]) == before
    ends = [mode.step(chip, forks[0], action), again[1].step(again[0], forks[1], action)]
    for end in ends:
        assert all(np.array_equal(getattr(end, key), value) for key, value in vars(state).items())


@needs(IBM01)
@pytest.mark.parametrize("order", ["nets", "area"])
def test_ibm01_is_the_instance_of_the_papers_and_random_placements_are_legal(order: str) -> None:
    chip = ibm01()
    nets = macro_nets(chip.netlist)
    assert len(chip.movable) == 246 and nets.nets == 908 and len(nets.macro) == 1928
    mode, rng = WireMaskMode(order), np.random.default_rng(0)
    size = Size(246, 0, (144, 144))
    state, returned = mode.start(chip, rng), 0.0
    while not mode.done(chip, state):
        before = mode.cost(chip, state)
        state = mode.step(chip, state, rng.choice(np.flatnonzero(mode.mask(chip, state, size))))
        returned += (before - mode.cost(chip, state)) / mode.scale(chip, state)
    found = mode.solution(chip, state)
    assert is_legal(chip, found)
    at = {int(v): (found["x"][i], found["y"][i], 0) for i, v in enumerate(chip.macros)}
    assert macro_hpwl(nets, **found) == pytest.approx(slow_hpwl(chip, at), rel=1e-12)
    assert 1.3e6 < mode.cost(chip, state) < 1.65e6  # 1,468,770 measured elsewhere
    assert returned == pytest.approx(-mode.cost(chip, state) / mode.scale(chip, state))
    assert -10 < returned < -5
