"""What the edge-centric network imitates: packings, each netlist by its own measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sysgym import make_problem
from sysgym.chip_placement.geometry.packing import spiral
from sysgym.chip_placement.instance import Chip
from sysgym.core.env import ProblemEnv
from sysgym_agents import Budget
from sysgym_agents.chip_placement.edge_net import WAYS, EdgeNet, windings
from sysgym_agents.chip_placement.edge_teacher import Packing, _episode, imitate, netlists, rules, teach
from sysgym_agents.core import Clock, make_agent
from sysgym_agents.general.sb3.training import make_policy

SMALL = "modules:macros=8,soft=40,ports=30,sizes=1,filled=60,seed=2"


def sequential(chip: Chip) -> ProblemEnv:
    return ProblemEnv(make_problem("ChipPlacement", mode="sequential"), instance=chip, obs="dynamic")


def cells_of(columns: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    row, column = np.divmod(np.arange(columns * rows), columns)
    at = np.stack([2 * (column + 0.5) / columns - 1, 2 * (row + 0.5) / rows - 1], axis=1).astype(np.float32)
    counts = np.zeros((1, 12), np.float32)
    counts[0, 5], counts[0, 6] = columns / 128, rows / 128
    return torch.from_numpy(at)[None], torch.from_numpy(counts)


@pytest.mark.parametrize(("columns", "rows"), [(7, 5), (4, 9), (6, 6), (1, 4)])
def test_way_0_follows_the_spiral_of_greedy_packing(columns: int, rows: int) -> None:
    found = windings(*cells_of(columns, rows))[0].numpy().astype(np.float64)
    order = np.argsort(found[:, 0] + found[:, 1], kind="stable")
    assert np.array_equal(np.stack(np.divmod(order, columns), axis=1), spiral(columns, rows))


def test_ways_are_each_other_turned() -> None:
    """On a square grid every way is way 0 of the mirrored or transposed grid, and no two are equal."""
    cells, counts = cells_of(6, 6)
    found = windings(cells, counts)[0].numpy().reshape(6, 6, 1 + WAYS)
    for way in range(WAYS):
        grid = found[:, :, 1]
        if way & 4:
            grid = grid.T
        grid = grid[:, ::-1] if way & 1 else grid
        grid = grid[::-1] if way & 2 else grid
        assert np.allclose(found[:, :, 1 + way], grid, atol=1e-6)
    assert len({found[:, :, 1 + way].tobytes() for way in range(WAYS)}) == WAYS


def test_the_first_rule_packs_as_spiral_does() -> None:
    problem = make_problem("ChipPlacement", mode="sequential")
    chip = problem.load(SMALL)
    _, cost = _episode(sequential(chip), chip, np.random.default_rng(0), rules(np.random.default_rng(0), 1)[0])
    packed = problem.judge(chip, make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget()))
    assert cost == pytest.approx(packed.cost, rel=1e-6)


def scaled(chip: Chip, length: float, weight: float) -> Chip:
    """The chip in another unit of length, its routes in it too, and with heavier nets."""
    netlist, canvas, placement = chip.netlist, chip.canvas, chip.placement
    lengths = {key: getattr(netlist, key) * length for key in ("width", "height", "x", "y", "x_offset", "y_offset")}
    routes = {key: tuple(v / length for v in getattr(canvas, key)) for key in ("routes", "macro_routes")}
    return Chip(
        "scaled", replace(netlist, weight=netlist.weight * weight, **lengths),
        replace(canvas, width=canvas.width * length, height=canvas.height * length, **routes),
        replace(placement, x=placement.x * length, y=placement.y * length),
    )  # fmt: skip


@pytest.mark.parametrize(("length", "weight"), [(4.0, 1.0), (1.0, 2.0), (0.25, 4.0)])
def test_a_netlist_is_seen_and_taught_by_its_own_measure(length: float, weight: float) -> None:
    """All lengths or all weights times a number: the same observations, the same moves; with lengths alone, about the
    same ratio of costs to the netlist's own greedy packing (congestion counts weights against routes).

    Powers of two, which leave floats as they are: forces carry soft macros elsewhere at the least rounding, of a
    solution's units too, which moves costs by a few percent.
    """
    chip = make_problem("ChipPlacement").load(SMALL)
    found = []
    for item in (chip, scaled(chip, length, weight)):
        env = sequential(item)
        rows, cost = _episode(env, item, np.random.default_rng(0), Packing(3, 1.0, 0.0, 0.2))
        _, own = _episode(env, item, np.random.default_rng(0), Packing())
        found.append((rows, cost / own))
    (first, ratio), (second, other) = found
    assert [action for _, action in first] == [action for _, action in second]
    for (one, _), (two, _) in zip(first, second, strict=True):
        for key in ("dynamic", "candidates", "globals"):
            assert np.allclose(one[key], two[key], atol=2e-3)
    if weight == 1:
        assert ratio == pytest.approx(other, rel=0.06)


def test_the_teacher_is_never_worse_than_greedy_packing() -> None:
    chip = make_problem("ChipPlacement").load(SMALL)
    rows, ratios = teach(sequential(chip), 10, np.random.default_rng(0), Clock(Budget()))
    assert len(ratios) == 1 and ratios[0] <= 1
    assert rows and all(obs["action_mask"][action] for obs, action in rows)


def test_imitation_is_learned_and_finds_a_packing() -> None:
    """One netlist: most of the teacher's moves are repeated, and a greedy episode ends legally."""
    problem = make_problem("ChipPlacement", mode="sequential")
    chip = problem.load("modules:macros=6,soft=20,ports=12,sizes=1,filled=50,seed=3")
    agent = make_agent("edge-gnn", pretrain=0, imitate=3)
    weights, told = imitate(
        agent.setup(), problem, [chip], None, np.random.default_rng(0), 3, Budget(cpu_seconds=3)
    )  # fmt: skip
    assert told["imitate/right"] > 0.5 and told["imitate/ratio"] <= 1
    agent._weights = weights
    assert problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(0), Budget())).feasible


def test_netlists_are_turned_and_generated_on_request() -> None:
    problem = make_problem("ChipPlacement", mode="sequential")
    given = [problem.load(SMALL)]
    assert netlists(problem, given, 0) == given
    found = netlists(problem, given, 2)
    assert len(found) == 1 + 7 + 2 and [item.name for item in found[-2:]] == ["modules:seed=0", "modules:seed=1"]


def test_older_weights_do_without_packing() -> None:
    """Weights of before it have no such layer: they load, and it counts for nothing then."""
    agent, chip = make_agent("edge-gnn"), make_problem("ChipPlacement").load(SMALL)
    net: EdgeNet = make_policy(agent.setup(), sequential(chip)).net
    net.load_state_dict(
        {key: value for key, value in net.state_dict().items() if key[:7] not in ("packing", "strengt")}
    )
    assert net.strength == 0 and not net.packing.weight.any() and net.cell.weight.any()
