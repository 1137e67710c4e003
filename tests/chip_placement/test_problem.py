"""Chip placement as a problem: what the options mean, what is judged, modes against direct computation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from public import needs_chip

import sysgym
from sysgym import make_problem
from sysgym.chip_placement.cost import both_costs, congestion_maps, proxy_cost
from sysgym.chip_placement.formats.netlist import HARD, PORT, SOFT
from sysgym.chip_placement.generate import generate_chip
from sysgym.chip_placement.geometry.force import settle_soft
from sysgym.chip_placement.geometry.legal import node_mask
from sysgym.chip_placement.geometry.macros import macro_sizes
from sysgym.chip_placement.geometry.moves import Moves
from sysgym.chip_placement.geometry.resolution import on_units
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import all_nodes
from sysgym.core.env import ProblemEnv
from sysgym_agents import Budget
from sysgym_agents.core import make_agent
from sysgym_agents.general.random import sample_action

TILES = "tiles:rows=3,columns=4,pitch=2,soft=5,ports=6,seed=3"


def spiral(chip: Chip, **options: Any) -> dict[str, Any]:
    problem = make_problem("ChipPlacement", **options)
    return dict(make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget()))


def blocked(chip: Chip, *boxes: tuple[float, float, float, float]) -> Chip:
    return replace(chip, canvas=replace(chip.canvas, blockages=tuple((*box, 1.0) for box in boxes)))


def test_the_judge_says_what_the_parts_say() -> None:
    chip = generate_chip(TILES)
    solution = spiral(chip)
    placement = all_nodes(chip, **solution)
    parts = proxy_cost(chip.netlist, chip.canvas, placement)
    problem = make_problem("ChipPlacement", wirelength_weight=2.0, density_weight=0.25, congestion_weight=1.5)
    verdict = problem.judge(chip, solution)
    assert verdict.feasible and not verdict.violations
    wanted = 2 * parts.wirelength_cost + 0.25 * parts.density_cost + 1.5 * parts.congestion_cost
    assert verdict.cost == verdict.metrics["proxy"] == pytest.approx(wanted)
    names = {"wirelength", "wirelength_cost", "density_cost", "congestion_cost", "proxy", "overlaps"}
    assert names <= {*verdict.metrics}
    hpwl = make_problem("ChipPlacement", objective="hpwl").judge(chip, solution)
    rows = {int(node): i for i, node in enumerate(chip.macros)}
    length = 0.0
    for e in range(chip.netlist.nets):
        owners = {int(node) for node in chip.netlist.parent[chip.netlist.pins[slice(*chip.netlist.ptr[e : e + 2])]]}
        hard = [rows[node] for node in owners if chip.netlist.kind[node] == HARD]
        if len(hard) > 1:
            length += chip.netlist.weight[e] * (np.ptp(solution["x"][hard]) + np.ptp(solution["y"][hard]))
    assert hpwl.cost == hpwl.metrics["hpwl"] == pytest.approx(length)


def test_what_is_illegal_is_said_and_counted() -> None:
    chip = generate_chip(TILES)
    problem, solution = make_problem("ChipPlacement"), spiral(chip)
    hard = np.flatnonzero(chip.netlist.kind[chip.macros] == HARD)
    soft = np.flatnonzero(chip.netlist.kind[chip.macros] == SOFT)

    def judged(**changes: Any) -> Any:
        return problem.judge(chip, {**solution, **changes})

    def moved(row: int, x: float, y: float) -> dict[str, Any]:
        found = {"x": solution["x"].copy(), "y": solution["y"].copy()}
        found["x"][row], found["y"][row] = x, y
        return found

    one, two = hard[:2]
    near = judged(**moved(one, solution["x"][two] + 4, solution["y"][two]))
    assert not near.feasible and near.metrics["overlaps"] >= 1 and near.metrics["excess"] > 1
    assert "overlap" in near.violations[0]
    out = judged(**moved(one, 1.0, 1.0))
    assert out.metrics["outside"] == 1 and any("1 hard macros stick out" in line for line in out.violations)
    lost = judged(**moved(soft[0], -5.0, 5.0))  # outside nothing costs: it must not pay
    assert not lost.feasible and any("soft" in line for line in lost.violations)
    macros_only = make_problem("ChipPlacement", objective="hpwl")
    assert macros_only.judge(chip, {**solution, **moved(soft[0], -5.0, 5.0)}).feasible
    fixed = chip.placement.fixed.copy()
    fixed[chip.macros[one]] = True
    pinned = replace(chip, placement=replace(all_nodes(chip, **solution), fixed=fixed[chip.netlist.parent]))
    assert problem.judge(pinned, solution).feasible
    apart = solution["x"].copy()
    apart[one] += 1e-2
    assert problem.judge(pinned, {**solution, "x": apart}).metrics["moved"] == 1
    turned = np.where(np.arange(len(chip.macros)) == one, 2, solution["orientation"])
    assert problem.judge(pinned, {**solution, "orientation": turned}).metrics["moved"] == 1


def test_quarter_turns_swap_width_and_height() -> None:
    chip = generate_chip(TILES)
    row = int(np.flatnonzero(chip.netlist.kind[chip.macros] == HARD)[0])
    width = chip.netlist.width.copy()
    width[chip.macros[row]] *= 2
    chip = replace(chip, netlist=replace(chip.netlist, width=width))
    facing = np.zeros(len(chip.netlist.kind), np.int8)
    for orientation in range(8):
        facing[chip.macros[row]] = orientation
        sizes = macro_sizes(chip.netlist, orientation=facing)
        long = sizes[0][chip.macros[row]] > sizes[1][chip.macros[row]]
        assert long == (orientation < 4)


def test_no_macro_stands_on_a_blockage_in_any_mode() -> None:
    chip = blocked(generate_chip(TILES.replace("pitch", "slack=3,pitch")), (0.0, 0.0, 12.0, 12.0))
    for options in ({"mode": "sequential"}, {"mode": "oneshot"}, {"mode": "refine", "steps": 60}):
        env = ProblemEnv("ChipPlacement", instance=chip, **options)
        rng = np.random.default_rng(0)
        legal = 0
        for seed in range(4):
            env.reset(seed=seed)
            over = False
            while not over:
                over, info = env.step(sample_action(rng, env.action_space, env.action_masks()))[2::2]
            verdict = info["verdict"]
            legal += verdict["feasible"]
            hard = np.flatnonzero(chip.netlist.kind[chip.macros] == HARD)
            found = env.solution()
            on = (found["x"][hard] < 17 - 1e-6) & (found["y"][hard] < 17 - 1e-6)
            assert not (verdict["feasible"] and on.any())
        assert legal, options
    free = generate_chip(TILES)
    assert not make_problem("ChipPlacement").judge(blocked(free, (0.0, 0.0, 40.0, 40.0)), spiral(free)).feasible


@pytest.mark.parametrize("orient", [False, True])
def test_sequential_episodes_equal_placing_by_hand(orient: bool) -> None:
    """Masks equal Circuit Training's rule on the real nodes, the end is forces and the judge."""
    chip = generate_chip(TILES.replace("pitch", "slack=3,pitch"))
    problem = make_problem("ChipPlacement", orient=orient)
    env = ProblemEnv(problem, instance=chip)
    env.reset(seed=0)
    rng = np.random.default_rng(1)
    area = (chip.netlist.width * chip.netlist.height)[chip.macros]
    placement = replace(chip.placement, placed=chip.netlist.kind == PORT)
    over, last = False, np.inf
    while not over:
        row = env.dynamics.focus(env.instance, env.state)
        node = int(chip.macros[row])
        assert area[row] <= last
        last = area[row]
        mask = node_mask(chip.netlist, chip.canvas, placement, node).ravel()
        assert np.array_equal(env.action_masks(), np.tile(mask, 4 if orient else 1).astype(bool))
        action = int(rng.choice(np.flatnonzero(env.action_masks())))
        facing, cell = divmod(action, chip.canvas.columns * chip.canvas.rows)
        y, x = divmod(cell, chip.canvas.columns)
        arrays = {key: getattr(placement, key).copy() for key in ("x", "y", "orientation", "placed")}
        own = chip.netlist.parent == node
        arrays["x"][own], arrays["y"][own] = (x + 0.5) * chip.canvas.cell[0], (y + 0.5) * chip.canvas.cell[1]
        arrays["orientation"][own], arrays["placed"][own] = facing, True
        placement = replace(placement, **arrays)
        _, reward, over, _, info = env.step(action)
    found = settle_soft(chip.netlist, chip.canvas, on_units(chip.netlist, chip.canvas, placement, chip.movable))
    cost = both_costs(chip.netlist, chip.canvas, found)[1].proxy()
    assert info["verdict"]["cost"] == pytest.approx(cost, rel=1e-12) and reward == -info["verdict"]["cost"]


def test_cell_features_say_what_they_promise() -> None:
    """`wire` is the growth of the macro's nets from cell to cell; `near` counts what stands beside."""
    chip = generate_chip(TILES)
    env = ProblemEnv("ChipPlacement", instance=chip, obs="dynamic")
    obs, _ = env.reset(seed=0)
    for _ in range(5):
        obs = env.step(int(np.flatnonzero(obs["action_mask"])[len(obs["action_mask"]) % 3]))[0]
    state, bodies, row = env.state, chip.bodies, int(obs["focus"][0])
    nets = bodies.net_of[bodies.net_ptr[row] : bodies.net_ptr[row + 1]]
    lengths = []
    for cell in range(chip.canvas.rows * chip.canvas.columns):
        y, x = divmod(cell, chip.canvas.columns)
        px, py = state.x.copy(), state.y.copy()
        px[row], py[row] = (x + 0.5) * chip.canvas.cell[0], (y + 0.5) * chip.canvas.cell[1]
        total = 0.0
        for e in nets:
            own = bodies.body[bodies.ptr[e] : bodies.ptr[e + 1]]
            total += bodies.weight[e] * (np.ptp(px[own]) + np.ptp(py[own]))
        lengths.append(total)
    scale = bodies.weight[nets].sum() * (chip.canvas.width + chip.canvas.height) / 5
    wanted = (np.array(lengths) - min(lengths)) / scale
    assert np.allclose(obs["candidates"][:, 2], wanted, atol=1e-5)
    near = obs["candidates"][:, 4]
    assert near[0] > near.min() and (near <= 1 + 1e-6).all() and (near >= -1 - 1e-6).all()


def test_a_dead_end_ends_the_episode_as_infeasible() -> None:
    chip = generate_chip("tiles:rows=2,columns=2,slack=0,pitch=3,soft=1,ports=2,seed=1")
    env = ProblemEnv("ChipPlacement", instance=chip)
    env.reset(seed=0)
    middle = 3 * 6 + 3  # the first macro in the middle of the canvas leaves no room for others
    _, reward, over, _, info = env.step(middle)
    assert over and not info["verdict"]["feasible"]
    assert reward == pytest.approx(-info["verdict"]["cost"] - info["verdict"]["metrics"]["excess"]) and reward < -2
    legal = ProblemEnv("ChipPlacement", instance=chip)
    legal.reset(seed=0)
    for action in (7, 10, 25, 28):
        _, _, over, _, info = legal.step(action)
    assert over and info["verdict"]["feasible"]


def test_refine_moves_cost_what_judging_anew_says_and_stay_legal() -> None:
    chip = generate_chip(TILES)
    problem = make_problem("ChipPlacement", mode="refine", steps=400)
    env = ProblemEnv(problem, instance=chip)
    env.reset(seed=0)
    rng, least, kinds = np.random.default_rng(0), np.inf, set()
    over = False
    while not over:
        before = env.state.moves.x.copy(), env.state.moves.orientation.copy()
        action = sample_action(rng, env.action_space, env.action_masks())
        over = env.step(action)[2]
        moves = env.state.moves
        if not np.array_equal(before[0], moves.x) or not np.array_equal(before[1], moves.orientation):
            kinds.add(min(int(action[1]) // 4, 2))
        x, y, facing = moves.x[chip.macros], moves.y[chip.macros], moves.orientation[chip.macros].astype(np.int64)
        verdict = problem.judge(chip, {"x": x, "y": y, "orientation": facing})
        assert verdict.feasible and env.state.now == pytest.approx(verdict.cost, rel=1e-9)
        least = min(least, env.state.now)
    assert env.dynamics.cost(chip, env.state) == pytest.approx(least, rel=1e-9) and kinds == {0, 1, 2}


def test_oneshot_goes_to_the_nearest_free_cell() -> None:
    chip = generate_chip("tiles:rows=1,columns=2,slack=1,soft=0,ports=2,seed=1")  # 3 x 2 cells
    env = ProblemEnv("ChipPlacement", instance=chip, mode="oneshot")
    env.reset(seed=0)
    action = np.zeros(env.size.nodes, np.int64)
    first, second = env.state.order.tolist()
    action[[first, second]] = 4
    env.step(action)
    found = env.solution()
    assert (found["x"][first], found["y"][first]) == (15.0, 15.0)
    assert (found["x"][second], found["y"][second]) == (15.0, 5.0)  # of those a cell away, the lowest number


def test_the_automatic_congestion_grid_is_circuit_trainings() -> None:
    chip = generate_chip(TILES)
    canvas = replace(chip.canvas, width=300.0, height=100.0, routes=(70.33, 74.51))
    assert canvas.automatic_congestion().routing == (21, 7)  # of 2 * 1000 / (70.33 + 74.51) = 13.8 microns
    solution = spiral(chip)
    small = make_problem("ChipPlacement", congestion_grid="auto").judge(chip, solution)
    legacy = make_problem("ChipPlacement").judge(chip, solution)
    assert small.metrics["congestion_cost"] != legacy.metrics["congestion_cost"]
    assert small.metrics["density_cost"] == legacy.metrics["density_cost"]
    routing = chip.canvas.automatic_congestion()
    placement = all_nodes(chip, **solution)
    hor, _ = congestion_maps(chip.netlist, routing, placement, *macro_sizes(chip.netlist))
    assert hor.shape == routing.routing[::-1]
    state = Moves(chip.netlist, routing, placement)
    rng = np.random.default_rng(0)
    for _ in range(50):
        node = int(rng.choice(chip.macros))
        state.put([node], [rng.uniform(0, 50)], [rng.uniform(0, 40)], [0])
    assert state.cost() == pytest.approx(proxy_cost(chip.netlist, routing, state.as_placement()), rel=1e-9)


@pytest.mark.parametrize("mode", ["sequential", "hpwl"])
def test_a_dead_end_never_pays(mode: str) -> None:
    """Every way to place four large squares is tried: what is illegal earns less than the worst legal placement."""
    chip = generate_chip("tiles:rows=2,columns=2,slack=0,pitch=3,soft=0,ports=0,seed=1")
    env = ProblemEnv("ChipPlacement", instance=chip, mode=mode, objective="hpwl")
    env.reset(seed=0)
    legal, illegal = [], []

    def play(total: float) -> None:
        saved = env.get_state()
        for action in np.flatnonzero(env.action_masks()).tolist():
            env.set_state(saved)
            _, reward, over, _, info = env.step(action)
            if over:
                (legal if info["verdict"]["feasible"] else illegal).append(total + reward)
            else:
                play(total + reward)

    play(0.0)
    assert legal and illegal and max(illegal) < min(legal)


@pytest.mark.parametrize("reward", ["improvement", "final"])
@pytest.mark.parametrize("mode", ["sequential", "hpwl"])
def test_where_nothing_fits_the_first_step_tells(mode: str, reward: str) -> None:
    chip = generate_chip("tiles:rows=2,columns=2,slack=0,pitch=2,soft=0,ports=0,seed=1")
    chip = replace(chip, canvas=replace(chip.canvas, width=9.0))
    env = ProblemEnv("ChipPlacement", instance=chip, mode=mode, objective="hpwl", reward=reward)
    env.reset(seed=0)
    assert env.action_masks().sum() == 1 and env.dynamics.cost(chip, env.state) == 0
    _, value, over, _, info = env.step(0)
    scale = env.dynamics.scale(chip, env.state)
    assert over and not info["verdict"]["feasible"]
    assert value == pytest.approx(-info["verdict"]["cost"] / scale - info["verdict"]["metrics"]["excess"])


def turned_chip() -> Chip:
    """A fixed macro three times as wide as tall, facing E, so that it stands upright in the middle."""
    chip = generate_chip("tiles:rows=2,columns=3,slack=3,pitch=2,soft=1,ports=2,seed=4")
    node = int(chip.macros[0])
    width, fixed = chip.netlist.width.copy(), chip.placement.fixed.copy()
    arrays = {key: getattr(chip.placement, key).copy() for key in ("x", "y", "orientation")}
    own = chip.netlist.parent == node
    width[node], fixed[own] = 30.0, True
    arrays["x"][own], arrays["y"][own], arrays["orientation"][own] = 30.0, 20.0, 4
    return replace(
        chip, netlist=replace(chip.netlist, width=width), placement=replace(chip.placement, fixed=fixed, **arrays)
    )


@pytest.mark.parametrize("mode", ["sequential", "oneshot", "hpwl", "refine"])
def test_masks_see_fixed_macros_as_they_stand(mode: str) -> None:
    chip = turned_chip()
    env = ProblemEnv("ChipPlacement", instance=chip, mode=mode, **({"steps": 80} if mode == "refine" else {}))
    rng, legal = np.random.default_rng(0), 0
    for seed in range(12):
        env.reset(seed=seed)
        over, dead = False, False
        while not over:
            over, info = env.step(sample_action(rng, env.action_space, env.action_masks()))[2::2]
        if mode in ("sequential", "oneshot"):
            dead = int(env.state.s[0]) < len(env.state.order)
        elif mode == "hpwl":
            dead = env.state.count < len(env.state.order)
        assert info["verdict"]["feasible"] != dead, info
        legal += info["verdict"]["feasible"]
    assert legal


def test_fixed_macros_are_judged_where_they_belong() -> None:
    """They may overlap each other; moving one a little changes no cost, moving it far is a violation."""
    chip = turned_chip()
    solution = spiral(chip)
    problem = make_problem("ChipPlacement")
    cost = problem.judge(chip, solution).cost
    for shift, legal in ((1e-5, True), (1.0, False)):
        x = solution["x"].copy()
        x[0] += shift
        verdict = problem.judge(chip, {**solution, "x": x})
        assert verdict.feasible == legal and verdict.cost == cost
    both = replace(chip, placement=replace(all_nodes(chip, **solution), fixed=np.ones_like(chip.placement.fixed)))
    over = {key: getattr(both.placement, key).copy() for key in ("x", "y")}
    first, second = (chip.netlist.parent == chip.macros[i] for i in (0, 1))
    over["x"][second], over["y"][second] = over["x"][first][0], over["y"][first][0]
    both = replace(both, placement=replace(both.placement, **over))
    rows = {"x": over["x"][chip.macros], "y": over["y"][chip.macros], "orientation": solution["orientation"]}
    assert problem.judge(both, rows).feasible


def test_refine_leaves_an_illegal_start_behind() -> None:
    """However little it costs to pile all macros up, the first legal placement counts more."""
    chip = generate_chip("tiles:rows=1,columns=2,slack=2,soft=0,ports=2,seed=1")
    problem = make_problem("ChipPlacement", mode="refine", objective="hpwl", steps=300)
    piled = {"x": np.full(2, 15.0), "y": np.full(2, 15.0), "orientation": np.zeros(2, np.int64)}
    env = ProblemEnv(problem, instance=chip)
    env.reset(seed=0, options={"solution": piled})
    rng, over = np.random.default_rng(0), False
    while not over:
        over, info = env.step(sample_action(rng, env.action_space, env.action_masks()))[2::2]
    assert info["verdict"]["feasible"] and info["verdict"]["cost"] >= 10
    fixed = turned_chip()
    with pytest.raises(sysgym.UsageError, match="moves 1 fixed macros"):
        start = spiral(fixed)
        start["x"][0] += 5
        ProblemEnv(problem, instance=fixed).reset(seed=0, options={"solution": start})


@needs_chip
@pytest.mark.parametrize("square_soft", [True, False])
def test_soft_macros_of_any_shape_stay_inside(square_soft: bool) -> None:
    env = ProblemEnv("ChipPlacement", instance="designs/mempool_tile_NanGate45", square_soft=square_soft, obs="raw")
    env.reset(seed=0)
    rng, over = np.random.default_rng(0), False
    while not over:
        over, info = env.step(sample_action(rng, env.action_space, env.action_masks()))[2::2]
    assert info["verdict"]["feasible"]


@pytest.mark.parametrize("edge", [0.0, 10.0])
def test_an_edge_on_a_grid_line_blocks_nothing_beyond(edge: float) -> None:
    """A macro of 15 from 0 to 15, or from 5 to 20: the cell that its edge only touches has no negative demand."""
    chip = generate_chip("tiles:rows=1,columns=2,slack=3,soft=0,ports=2,seed=1")  # 50 x 40, cells of 10
    width, height = np.full(len(chip.netlist.kind), 15.0), np.full(len(chip.netlist.kind), 15.0)
    from sysgym.chip_placement.kernels import block_macro

    hor, ver = np.zeros((4, 5)), np.zeros((4, 5))
    block_macro(7.5 + edge / 2, 12.5, width[0], height[0], 10.0, 10.0, 1.0, 1.0, hor, ver)
    assert hor.min() >= 0 and ver.min() >= 0
    rows = np.clip(np.minimum(20, np.arange(10, 50, 10)) - np.maximum(5, np.arange(0, 40, 10)), 0, None)
    assert rows.tolist() == [5, 10, 0, 0] and ver.sum(axis=1)[1] > 0
