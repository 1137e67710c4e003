"""Mode `joint`: schedule and residency are judged as given, against the exact plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sysgym import InvalidSolution, UsageError, Verdict, make_problem
from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.joint.plans import (
    Decisions,
    arrays_of_plan,
    nothing_stays,
    planned_solution,
    readers,
    room_of,
    room_taken,
)
from sysgym.accelerator_design.modes import Datapaths
from sysgym.accelerator_design.space import BATCH, NAMES, SPACE, indices, machines
from sysgym.accelerator_design.workloads.builder import Builder
from sysgym.core.solutions import read_solution, write_solution
from sysgym_agents.core import Budget, make_agent

Inline = Callable[..., Any]
JOINT: Any = make_problem("AcceleratorDesign", mode="joint")
USUAL: Any = make_problem("AcceleratorDesign")
LEAST = {name: values[0] for name, values in SPACE.items()}


def designs(work: Workloads, count: int, seed: int = 0) -> Iterator[Any]:
    """Random designs within the budgets."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield Datapaths(USUAL).begin(work, rng)


def random_plan(work: Workloads, machine: Any, rng: np.random.Generator, tries: int) -> Decisions:
    """Random schedules, and of random tensors and weights what fits."""
    regions, known, room = len(work.kind), readers(work), room_of(machine)
    plan = nothing_stays(work, 2)._replace(schedule=rng.integers(0, 3, regions))
    for _ in range(tries):
        more = Decisions(*(array.copy() for array in plan))
        if rng.random() < 0.5:
            tensor = rng.integers(len(known))
            more.upto[tensor] = rng.integers(known[tensor] + 1)
        else:
            region = rng.integers(regions)
            more.pinned[region] = work.weights[region] > 0
        if room_taken(work, machine[BATCH], more).max() <= room:
            plan = more
    return plan


def judged(work: Workloads, design: Any, plan: Decisions) -> Verdict:
    found: Verdict = JOINT.judge(work, {"design": design, **arrays_of_plan(work, plan)})
    return found


def two_layers() -> Workloads:
    """Two products of a row with a 256 x 256 matrix."""
    net = Builder("two")
    net.valid_conv("b", net.valid_conv("a", net.input(1, 1, 256), 256, (1, 1), 1), 256, (1, 1), 1)
    return net.finish()


def test_two_layers_by_hand() -> None:
    """One array of 256 x 256 at 1 GHz and one channel of 56 GB/s, batch 1.

    Each layer computes for 256 cycles and fills and drains for 512: 768 ns. It moves 2 * 256^2 bytes of weights and
    512 in and 512 out: 132,096 bytes take 2358.86 ns. If what lies between them stays, a saves its write and b its
    read; if the weights of a stay, a moves 1024 bytes, which takes less than to compute.
    """
    work = two_layers()
    design = indices({**LEAST, "sa_x": 256, "sa_y": 256, "l1w": 256, "l1i": 1, "l1o": 2, "gm": 1})
    whole, none = 132_096 / 56, nothing_stays(work, 2)
    weights = np.array([True, False])
    for upto, pinned, expected in (
        (0, weights & False, 2 * whole),
        (1, weights & False, 2 * (whole - 512 / 56)),
        (0, weights, 768 + whole),
        (1, weights | True, 768 + 768),
    ):
        plan = none._replace(upto=np.array([0, upto, 0]), pinned=pinned)
        verdict = judged(work, design, plan)
        assert verdict.metrics["seconds_per_batch"] == pytest.approx(expected * 1e-9, rel=1e-12)
        assert verdict.metrics["ilp_gap"] == pytest.approx(expected / (768 + 768) - 1)
        assert not [sentence for sentence in verdict.violations if "stay" in sentence]
    assert room_taken(work, 1, plan).tolist() == [2 * 2 * 256**2 + 512] * 2
    solution = planned_solution(JOINT, work, design)
    assert solution["pinned"].tolist() == [1, 1] and solution["schedule"].tolist() == [2, 2]


def test_a_plan_without_room_is_infeasible_and_says_where() -> None:
    work = two_layers()
    plan = nothing_stays(work, 2)._replace(upto=np.array([0, 1, 0]))
    verdict = judged(work, indices({**LEAST, "sa_x": 256, "sa_y": 256, "l1w": 256, "l1o": 2}), plan)
    assert not verdict.feasible and verdict.metrics["excess"] > 2
    assert verdict.violations[-1] == (
        "while region 0, a, runs, 0.000488281 MiB stay in global memory, 0.000488281 MiB more than the 0 that it has "
        "room for"
    )
    work = JOINT.load("cnns/train-0")
    design = indices({**LEAST, "l1i": 64, "l1w": 64, "l1o": 64, "gm": 1, "batch": 256})
    most = readers(work)
    crowded = judged(work, design, nothing_stays(work, 2)._replace(upto=most))
    assert any("more than the 0.75 that it has room for" in sentence for sentence in crowded.violations)


def test_the_exact_plan_costs_what_the_other_modes_say() -> None:
    for name, count in (("cnns/train-0", 40), ("cnns/valid-0", 20), ("bert:tokens=16", 5)):
        work = JOINT.load(name)
        for design in designs(work, count):
            plain, joint = (
                USUAL.judge(work, {"design": design}),
                JOINT.judge(work, planned_solution(JOINT, work, design)),
            )
            assert joint.feasible == plain.feasible and joint.cost == pytest.approx(plain.cost, rel=1e-9)
            assert joint.metrics.pop("ilp_gap") == pytest.approx(0, abs=1e-9)
            assert {**joint.metrics} == pytest.approx({**plain.metrics}, rel=1e-9)


def test_no_plan_beats_the_exact_one() -> None:
    rng, better = np.random.default_rng(0), 0
    for name in ("cnns/train-0", "cnns/train-3", "bert:tokens=16"):
        work = JOINT.load(name)
        simulator = JOINT.measured(work).simulator
        for design in designs(work, 8, 1):
            machine = machines(design[None])[0]
            for tries in (0, 3, 30):
                plan = random_plan(work, machine, rng, tries)
                verdict = judged(work, design, plan)
                seconds = verdict.metrics["seconds_per_batch"]
                exact = simulator.exact(machine, plan.schedule).seconds[0]
                assert verdict.feasible and exact <= seconds * (1 + 2e-6)
                usual = simulator.exact(machine).seconds[0]
                assert verdict.metrics["ilp_gap"] == pytest.approx(max(seconds / min(exact, usual) - 1, 0), abs=1e-9)
                better += exact < usual * (1 - 1e-9)
    assert better > 0  # a region may be faster with a lower schedule: fewer bytes


def residual() -> Workloads:
    """Three convolutions and a residual connection."""
    net = Builder("residual")
    x = net.conv("a", net.input(48, 48, 8), 16, 3)
    y = net.conv("b", x, 16, 3)
    net.conv("c", y, 16, 3, more=[x])
    return net.finish()


def test_the_best_of_all_plans_is_the_exact_one() -> None:
    work, simulator = residual(), JOINT.measured
    plans = [
        nothing_stays(work, 2)._replace(upto=np.array([0, a, b, 0]), pinned=np.array(pinned))
        for a, b in product(range(3), range(2))
        for pinned in product((False, True), repeat=3)
    ]
    bound = 0
    wide = {"sa_x": 64, "sa_y": 64, "l1i": 64, "l1w": 64, "l1o": 64, "pe_x": 4, "pe_y": 4}
    for gm, batch in product((1, 2), (4, 8, 16)):
        design = indices({**LEAST, **wide, "gm": gm, "batch": batch})
        verdicts = [judged(work, design, plan) for plan in plans]
        fits = [not any("stay in" in sentence for sentence in verdict.violations) for verdict in verdicts]
        best = min(v.metrics["seconds_per_batch"] for v, fit in zip(verdicts, fits, strict=True) if fit)
        exact = simulator(work).simulator.exact(machines(design[None])[0])
        assert best == pytest.approx(exact.seconds[0], rel=1e-6)
        assert best == pytest.approx(
            JOINT.judge(work, planned_solution(JOINT, work, design)).metrics["seconds_per_batch"], rel=1e-9
        )
        bound += 0 < sum(fits) < len(fits) and best < exact.unfused[0]
    assert bound >= 3


def test_masks_allow_what_fits_and_never_nothing() -> None:
    env: Any = gym.make("sysgym/AcceleratorDesign-v0", mode="joint", instances="cnns/train").unwrapped
    rng, refused, kept = np.random.default_rng(0), 0, 0
    for _ in range(25):
        env.reset(seed=int(rng.integers(1000)))
        over = False
        while not over:
            mask = env.action_masks()
            region = env.dynamics.focus(env.instance, env.state)
            if region >= 0:
                most = readers(env.instance)[env.instance.out[region]]
                known = 3 * (most + 1) * (2 if env.instance.weights[region] > 0 else 1)
                refused += mask.sum() < known
                assert mask[0] and not mask[2 * 3 * (most + 1) :].any() and mask.sum() <= known
            over = env.step(rng.choice(np.flatnonzero(mask)))[2]
        verdict = env.verdict()
        assert verdict.feasible, verdict.violations
        kept += env.state.plan.upto.any() or env.state.plan.pinned.any()
    assert refused > 0 and kept > 5


def test_what_the_mask_refuses_does_not_fit() -> None:
    """Every decision of every region of a small plan: the mask and the judge agree."""
    work = residual()
    env: Any = gym.make("sysgym/AcceleratorDesign-v0", mode="joint", instance=work, schedule=0).unwrapped
    wide = {"sa_x": 64, "sa_y": 64, "l1i": 64, "l1w": 64, "l1o": 64, "gm": 2, "batch": 16}
    for choices in product((0, 1), repeat=2):  # of the first two regions: something stays as far as it may
        env.reset(seed=0)
        for value in indices({**LEAST, **wide}).tolist():
            env.step(value)
        for region in range(3):
            saved, mask, size = env.get_state(), env.action_masks(), readers(work)[work.out[region]]
            for upto, pin in product(range(size + 1), range(2)):
                state = env.dynamics.copy(env.state)
                state = env.dynamics.step(work, state, 2 * upto + pin)
                fits = room_taken(work, 16, state.plan).max() <= 1.5 * 2**20
                assert mask[2 * upto + pin] == fits
            env.set_state(saved)
            wanted = choices[region] if region < 2 else 0
            env.step(int(np.flatnonzero(mask)[-1 if wanted else 0]))
        assert env.state.stopped


def test_wrong_plans_get_a_sentence() -> None:
    work = JOINT.load("cnns/train-0")
    good = dict(planned_solution(JOINT, work, indices({**LEAST, "l1w": 4})))
    still = work.regions[int(np.argmax(work.weights == 0))]

    def changed(name: str, at: Any, value: int = 1) -> dict[str, Any]:
        array = np.zeros_like(good[name])
        array[at] = value
        return {**good, name: array}

    for solution, sentence in (
        ({"design": good["design"]}, "expected the arrays design, pinned, residency, schedule"),
        ({**good, "schedule": good["schedule"][:-1]}, r"array 'schedule' .* has shape \(6,\), expected \(7,\)"),
        (changed("schedule", 0, 3), "holds values from 0 to 3, expected 0 to 2"),
        (changed("residency", (1, 0), 2), "expected 0 to 1"),
        (changed("residency", 1), "row 1 of 'residency' holds 2 ones; a tensor stays up to one consumer"),
        (changed("residency", (0, 0)), "tensor 0 is an input of its network: no region produces it, so it cannot stay"),
        (changed("residency", (-1, 0)), "the output of fc, has 0 consumers; 'residency' lets it stay to number 1"),
        (changed("pinned", work.weights == 0), f"{still}, has no weights that 'pinned' could keep"),
    ):
        with pytest.raises(InvalidSolution, match=sentence):
            JOINT.judge(work, solution)
    env: Any = gym.make("sysgym/AcceleratorDesign-v0", mode="joint").unwrapped
    with pytest.raises(UsageError, match="starts from nothing"):
        env.reset(options={"instance": "cnns/train-0", "solution": good})


def test_files_of_plans(tmp_path: Path, inline: Inline) -> None:
    work, path = JOINT.load("cnns/train-0"), tmp_path / "plan.json"
    values = {**LEAST, "l1w": 64, "l1i": 64, "l1o": 64, "sa_x": 16, "sa_y": 16, "pe_x": 8, "pe_y": 8, "gm": 4}
    solution = planned_solution(JOINT, work, indices(values))
    assert solution["residency"].any()
    write_solution(JOINT, work, solution, path)
    assert "stays_to" in path.read_text()
    again = read_solution(JOINT, work, path)
    assert all((again[name] == solution[name]).all() for name in solution)
    assert "ilp_gap" in inline("judge", "cnns/train-0", str(path)).stdout
    assert "in global memory stay" in JOINT.describe(work, solution)
    path.write_text(json.dumps(values))
    assert all((read_solution(JOINT, work, path)[name] == solution[name]).all() for name in solution)
    own = {name: (solution[name] * 0).tolist() for name in ("schedule", "residency", "pinned")}
    path.write_text(json.dumps({**values, **own}))
    found = read_solution(JOINT, work, path)
    assert (found["design"] == indices(values)).all() and not found["residency"].any()
    path.write_text(json.dumps({**values, "schedule": own["schedule"]}))
    with pytest.raises(InvalidSolution, match="expected the arrays design, pinned, residency, schedule"):
        read_solution(JOINT, work, path)


def test_a_design_that_cannot_work() -> None:
    work = JOINT.load("cnns/train-0")
    verdict = JOINT.judge(work, planned_solution(JOINT, work, indices({**LEAST, "sa_x": 256, "sa_y": 256})))
    whole = JOINT.judge(work, planned_solution(JOINT, work, indices({**LEAST, "l1w": 4})))
    assert not verdict.feasible and set(verdict.metrics) == set(whole.metrics) and len(NAMES) == 16


def test_searches_answer_with_the_exact_plan() -> None:
    work = JOINT.load("cnns/train-0")
    cost = {}
    for problem in (JOINT, USUAL):
        solution = make_agent("genetic").solve(problem, work, np.random.default_rng(0), Budget(steps=300))
        cost[problem.mode] = problem.judge(work, solution).cost
    assert cost["joint"] == pytest.approx(cost["sequential"], rel=1e-9)
    several: Any = JOINT.load("fast/multi5")
    verdict = make_problem("AcceleratorDesign", mode="joint", fusion="greedy").judge(
        several, {"design": indices({**LEAST, "l1w": 4}), **arrays_of_plan(several, nothing_stays(several, 2))}
    )
    assert verdict.metrics["ilp_gap"] == 0 and len(several.networks) == 5
