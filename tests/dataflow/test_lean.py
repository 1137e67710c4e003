"""The simulator of searches against the shipped one, and the compiled annealer against its own definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import make_problem
from sysgym.core.problem import Array
from sysgym.dataflow.features import make_work
from sysgym.dataflow.graphs.generate import generate_graph
from sysgym.dataflow.simulator import kernels, lean_kernels
from sysgym.dataflow.simulator.lean import Lean
from sysgym.dataflow.simulator.simulate import simulate
from sysgym_agents.core import Budget, Clock, make_agent
from sysgym_agents.dataflow import baselines as rules
from sysgym_agents.dataflow.anneal import move_kernels as moves
from sysgym_agents.dataflow.anneal.compiled import CompiledSearch, Settings
from sysgym_agents.dataflow.anneal.starts import Pace, Start, live_bytes, repair, starts_of
from sysgym_agents.dataflow.anneal.stepwise import Answer
from sysgym_agents.dataflow.anneal.stepwise import Search as Stepwise
from sysgym_agents.dataflow.annealing import DeviceAnnealer

GRAPHS = ("layered/test-0", "layered/test-1", "doppler/ffnn", "seeds/txl_4l", "seeds/rnnlm_2l",
          "models/vgg16_b32_train", "pipedream/nasnetalarge_train", "msr/op_bert_l-3_inference", "seeds/amoebanet_d18",
          "layered:depth=9,width=7,fan_in=5,devices=8,seed=5")  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def placements(job: Any) -> list[Array]:
    graph, many = job.graph, rng(1)
    found = [job.expert, job.single, (graph.layer % job.devices).astype(np.int32)]
    return [*found, many.integers(0, job.devices, graph.nodes).astype(np.int32)]


def orders(job: Any) -> list[Array | None]:
    return [None, job.critical_path, rng(2).integers(-(2**29), 2**29, job.graph.nodes), np.zeros(job.graph.nodes, int)]


@pytest.mark.parametrize("mode", ["egress_ingress", "pair", "none"])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_makespan_is_the_shipped_simulators(name: str, mode: str) -> None:
    problem = make_problem("DevicePlacement", link_mode=mode)
    job = problem.job(problem.load(name))
    for placement in placements(job):
        for order in orders(job):
            exact = simulate(job.graph, job.times, job.cluster, placement, order).makespan_ns
            assert job.lean.makespan(placement, order) == exact
            assert job.lean.makespan(placement, order, limit=exact) == exact  # the bounds never exceed it
            assert job.lean.makespan(placement, order, limit=exact - 1) is None


@pytest.mark.parametrize("mode", ["egress_ingress", "pair", "none"])
def test_unlike_devices_and_links_and_latencies(mode: str, tmp_path: Path) -> None:
    draw = rng(3)
    speeds = [{"speed": 1.0}, {"speed": 0.5}, {"speed": 0.25}, {"speed": 1.0}, {"speed": 3.3}]
    spec = {"devices": speeds, "bandwidth": draw.uniform(0.5, 20, (5, 5)).tolist(), "link_mode": mode,
            "latency_ns": draw.integers(0, 30_000, (5, 5)).tolist()}  # fmt: skip
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(spec))
    problem = make_problem("DevicePlacement", devices=str(path))
    for name in ("seeds/txl_2l", "layered/test-1", "doppler/ffnn"):
        job = problem.job(problem.load(name))
        divided = Lean(job.graph, job.times, job.cluster)
        divided.machines = divided.machines._replace(
            occupied=np.zeros((1, 0), np.int64)
        )  # as where too many are unlike
        assert len(divided.machines.times) < job.devices
        for placement in placements(job):
            for order in orders(job):
                exact = simulate(job.graph, job.times, job.cluster, placement, order).makespan_ns
                assert job.lean.makespan(placement, order) == divided.makespan(placement, order) == exact
                assert job.lean.makespan(placement, order, limit=exact) == exact
                assert divided.makespan(placement, order, limit=exact - 1) is None


def test_a_single_device_and_free_transfers() -> None:
    graph = generate_graph("layered:depth=3,width=3,devices=1,seed=1")
    for options in ({"devices": 1}, {"devices": 64, "latency_ns": 0, "bandwidth": 1e6}):
        job = make_problem("DevicePlacement", **options).job(graph)
        for placement in placements(job):
            exact = simulate(graph, job.times, job.cluster, placement).makespan_ns
            assert job.lean.makespan(placement) == job.lean.makespan(placement, limit=exact) == exact


def test_scratch_is_shared_without_a_trace() -> None:
    problem = make_problem("DevicePlacement")
    job = problem.job(problem.load("layered/test-1"))
    scratch, many = job.lean.scratch(), rng(7)
    for _ in range(60):
        placement = many.integers(0, job.devices, job.graph.nodes).astype(np.int32)
        order = orders(job)[int(many.integers(4))]
        exact = simulate(job.graph, job.times, job.cluster, placement, order).makespan_ns
        limit = int(exact * many.uniform(0.2, 1.5))
        assert job.lean.makespan(placement, order, limit, scratch) == (exact if exact <= limit else None)


def test_tails_are_kept_up_to_date_and_taken_back() -> None:
    problem = make_problem("DevicePlacement")
    job = problem.job(problem.load("seeds/txl_4l"))
    nodes, many = job.graph.nodes, rng(4)
    place = job.expert.astype(np.int8)
    tail, dirty = job.lean.tails(place), np.zeros(nodes, np.bool_)
    log_node, log_tail = np.empty(nodes, np.int32), np.empty(nodes, np.int64)
    for size in (1, 5, 200, nodes):
        before, moved = tail.copy(), many.choice(nodes, size, replace=False).astype(np.int32)
        place[moved] = many.integers(0, job.devices, size)
        logged = lean_kernels.retail(
            job.lean.net, job.lean.machines, place, tail, moved, size, dirty, log_node, log_tail
        )
        assert np.array_equal(tail, job.lean.tails(place)) and not dirty.any()
        restored = tail.copy()
        restored[log_node[:logged]] = log_tail[:logged]
        assert np.array_equal(restored, before)


def searched(problem: Any, graph: Any, bounded: bool, steps: int) -> tuple[Any, ...]:
    job, tasks = problem.job(graph), problem.chosen
    search = CompiledSearch(job, tasks, Settings(0.05, 0.001, 64, steps, 80, bounded), Clock(Budget(steps=steps)))
    search.begin(starts_of(job, rng(), metis=False)[:3])
    found = search.run(11)
    return found.placement.tobytes(), None if found.priority is None else found.priority.tobytes(), found[2:]


@pytest.mark.parametrize("options", [{}, {"mem_factor": 0.7}, {"link_mode": "pair"}])
@pytest.mark.parametrize("tasks", ["placement", "placement+schedule", "schedule"])
def test_bounds_change_no_decision(tasks: str, options: dict[str, Any]) -> None:
    problem = make_problem("GraphOptimization", tasks=tasks, **options)
    for name in ("seeds/txl_2l", "layered/test-1"):
        graph = problem.load(name)
        for steps in (20, 700):
            assert searched(problem, graph, True, steps) == searched(problem, graph, False, steps)


@pytest.mark.parametrize("options", [{}, {"mem_factor": 0.6}, {"mem_factor": 0.02}, {"schedule": "critical_path"},
                                     {"link_mode": "none"}])  # fmt: skip
@pytest.mark.parametrize("tasks", ["placement", "placement+schedule", "schedule"])
def test_what_is_found_costs_what_the_judge_says(tasks: str, options: dict[str, Any]) -> None:
    problem = make_problem("GraphOptimization", tasks=tasks, **options)
    for name in ("seeds/txl_2l", "layered/test-1", "doppler/ffnn"):
        graph = problem.load(name)
        job = problem.job(graph)
        search = CompiledSearch(job, problem.chosen, Settings(0.05, 0.001, 64, 400, 100), Clock(Budget(steps=400)))
        search.begin(starts_of(job, rng(), metis=False) if "placement" in tasks else [])
        found = search.run(5)
        score = job._score(found.placement, found.priority, None, problem.rules.schedule)
        assert (found.cost, found.over) == (score.cost, score.over_bytes)


def test_unlike_devices_are_annealed_too(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"devices": [{}, {"speed": 0.5}, {"speed": 4.0}], "link_mode": "pair"}))
    problem = make_problem("DevicePlacement", devices=str(path))
    graph = problem.load("layered/test-1")
    expert, found = (
        make_agent(name).solve(problem, graph, rng(), Budget(steps=600)) for name in ("expert", "sa-device")
    )
    assert problem.judge(graph, found).cost < 0.8 * problem.judge(graph, expert).cost


def test_steps_are_counted_as_they_are_and_finer_units_come_in_time() -> None:
    problem = make_problem("DevicePlacement")
    job = problem.job(problem.load("seeds/txl_2l"))
    for steps in (1, 2, 9, 50, 1000):
        search = CompiledSearch(
            job, ("placement",), Settings(0.005, 0.0005, 64, steps, 300), Clock(Budget(steps=steps))
        )
        search.begin(starts_of(job, rng(), metis=False))
        assert search.judged <= steps
        search.run(0)
        assert search.judged == steps


@pytest.mark.parametrize("tasks", ["placement", "placement+schedule"])
def test_a_seed_and_steps_fix_the_answer(tasks: str) -> None:
    problem = make_problem("GraphOptimization", tasks=tasks)
    graph = problem.load("seeds/txl_2l")
    found = [make_agent("sa-device").solve(problem, graph, rng(seed), Budget(steps=700)) for seed in (1, 1, 2)]
    same, other = (
        all(np.array_equal(found[0][key], found[i][key]) for key in found[0]) for i in (1, 2)
    )  # fmt: skip
    assert same and not other


def test_a_start_out_of_memory_is_repaired() -> None:
    problem = make_problem("DevicePlacement")
    graph = problem.load("seeds/txl_4l")
    start = make_agent("layer-round-robin").place(problem.job(graph), rng())
    before = problem.job(graph).score(start)
    assert before.outcome is not None
    problem = make_problem("DevicePlacement", capacity=0.93 * float(before.outcome.peak_bytes.max()))
    job = problem.job(graph)
    work = make_work(job, "layers", 128)
    assert job.score(start).over_bytes
    found = repair(job, work, start, None, lambda tries: False)
    score = job.score(found.placement)
    assert found.over == score.over_bytes == 0 and score.cost < 1.3 * before.cost
    moved = found.placement != start
    assert 0 < moved.mean() < 0.5


@pytest.mark.parametrize(("name", "noise"), [("GraphOptimization", 0.0), ("DevicePlacement", 1e-4)])
def test_memory_is_sought_with_fusion_and_noise_too(name: str, noise: float) -> None:
    """No start fits; what is repaired does, and counts."""
    problem = make_problem(name, capacity=105e6, noise=noise)
    graph = problem.load("layered:depth=8,width=5,devices=4,seed=3")
    job = problem.job(graph)
    starts = [np.asarray(start.make(), np.int32) for start in starts_of(job, rng(), metis=True)]
    assert all(job.score(start).over_bytes for start in starts)
    found = make_agent("sa-device").solve(problem, graph, rng(), Budget(steps=100))
    assert problem.judge(graph, found).feasible


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_repair_leaves_an_answer_to_judge_by(noise: float) -> None:
    """Of every number of answers, what a repair found is judged, or no repair was begun."""
    problem = make_problem("DevicePlacement", mem_factor=0.55, noise=noise)
    graph = problem.load("layered:depth=8,width=2,devices=2,seed=5")
    fits = [
        problem.judge(graph, make_agent("best-start").solve(problem, graph, rng(), Budget(steps=steps))).feasible
        for steps in range(10, 40)
    ]
    assert fits == sorted(fits) and fits[-1]  # more answers are never worse


def test_less_excess_is_better_and_then_less_time() -> None:
    job = make_problem("GraphOptimization").job(make_problem("GraphOptimization").load("seeds/txl_2l"))
    search = Stepwise(job, ("placement", "fusion"), rng())
    for over, cost, now_over, now_cost, taken in (
        (0, 9.0, 1, 1.0, True), (1, 1.0, 0, 9.0, False), (5, 9.0, 6, 1.0, True), (9, 1.0, 5, 9.0, False),
        (0, 1.0, 0, 2.0, True), (0, 2.0, 0, 1.0, False),
    ):  # fmt: skip
        search.now = Answer(job.expert, None, None, now_cost, now_over)
        assert search._accepts(Answer(job.expert, None, None, cost, over), 0.0) is taken


def test_starts_are_made_for_answers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a budget of two answers the expert's is one, and dear starts need not be made."""
    made: list[str] = []

    def counted(job: Any, seed: int) -> Any:
        made.append("metis")
        return job.expert

    monkeypatch.setattr(rules.MetisPlacement, "seeded", counted)
    for name, options in (("DevicePlacement", {}), ("GraphOptimization", {}), ("DevicePlacement", {"noise": 1e-4})):
        problem = make_problem(name, **options)
        graph = problem.load("seeds/txl_2l")
        for agent in ("sa-device", "best-start"):
            make_agent(agent).solve(problem, graph, rng(), Budget(steps=2))
    assert not made


def test_a_repair_counts_and_stops() -> None:
    problem = make_problem("DevicePlacement", mem_factor=0.01)
    job = problem.job(problem.load("seeds/txl_2l"))
    work = make_work(job, "layers", 64)
    tried: list[int] = []
    found = repair(job, work, job.single, None, lambda tries: bool(tried.append(tries)) or tries >= 5)
    assert found.tries <= 5 and found.over == job.score(found.placement).over_bytes > 0
    assert tried == sorted(tried)


def test_bytes_at_the_peak_add_up_to_it() -> None:
    problem = make_problem("DevicePlacement")
    for name in ("seeds/txl_2l", "seeds/amoebanet_d18", "layered/test-1"):
        job = problem.job(problem.load(name))
        work = make_work(job, "layers", 64)
        for placement in (job.expert, job.single):
            outcome = simulate(job.graph, job.times, job.cluster, placement)
            for device in range(job.devices):
                found = live_bytes(job, placement, outcome, device, work.units.of, work.units.count)
                assert found.sum() == pytest.approx(float(outcome.peak_bytes[device]), rel=0.1)


def test_tight_memories_are_kept() -> None:
    """Every acceptance is checked where memory is scarce; what is answered fits."""
    problem = make_problem("DevicePlacement", mem_factor=0.6)
    for name in ("seeds/txl_2l", "seeds/amoebanet_d18", "layered/test-1"):
        graph = problem.load(name)
        expert = problem.judge(graph, {"placement": problem.job(graph).expert})
        found = problem.judge(graph, DeviceAnnealer().solve(problem, graph, rng(), Budget(steps=800)))
        assert found.feasible and (not expert.feasible or found.cost <= expert.cost)


def test_the_limit_drawn_first_is_the_rule_of_metropolis() -> None:
    """P(now * heat * Exp(1) >= worse) = exp(-worse / (now * heat)): the same chance as of the usual rule."""
    random = np.array([3], np.uint64)
    drawn = np.array([moves._uniform(random) for _ in range(40_000)])
    assert drawn.min() >= 0 and drawn.max() < 1 and abs(drawn.mean() - 0.5) < 0.01
    for worse in (0.2, 1.0, 2.5):
        assert np.mean(-np.log(1 - drawn) >= worse) == pytest.approx(np.exp(-worse), abs=0.01)


def test_the_compiled_state_starts_scarce_only_near_the_memories() -> None:
    for factor, scarce in ((100.0, 0), (0.5, 1)):
        problem = make_problem("DevicePlacement", mem_factor=factor)
        job = problem.job(problem.load("seeds/txl_2l"))
        search = CompiledSearch(job, ("placement",), Settings(0.01, 0.001, 64, 10, 300), Clock(Budget(steps=10)))
        assert search._state()[moves.SCARCE] == scarce
    assert kernels.FAR == lean_kernels.FAR


class Hands:
    """A clock that is set by hand."""

    share, cpu_seconds, budget = 0.0, 0.0, Budget()


def test_no_start_is_begun_late_or_beyond_the_time() -> None:
    clock: Any = Hands()
    pace, cheap, dear = Pace(clock), Start(lambda: np.zeros(1), 0.1), Start(lambda: np.zeros(1), 16.0)
    clock.share = 0.02
    pace.measure(0.0)  # a simulation took 2 % of the time
    assert pace.allows(cheap) and pace.allows(dear)
    clock.share = 0.39
    assert pace.allows(cheap) and pace.allows(dear)
    clock.share = 0.4
    assert not pace.allows(cheap)
    clock.share = 0.3
    pace.measure(0.25)  # now 5 %: METIS would not end in time
    assert pace.allows(cheap) and not pace.allows(dear)


def test_starts_that_are_not_begun_cost_nothing() -> None:
    problem = make_problem("DevicePlacement")
    job = problem.job(problem.load("layered/test-1"))
    search = CompiledSearch(job, ("placement",), Settings(0.01, 0.001, 64, 100, 300), Clock(Budget(steps=100)))
    clock: Any = Hands()
    clock.share, search.pace = 0.5, Pace(clock)

    def never() -> Array:
        raise AssertionError("begun")

    search.begin([Start(never, 0.1)])
    assert search.judged == 1 and np.array_equal(search.best.placement, job.expert)
