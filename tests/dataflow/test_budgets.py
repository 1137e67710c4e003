"""What a spent budget leaves: the expert's placement at least; and m-ETF against its own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sysgym import make_problem
from sysgym.core.problem import Array
from sysgym_agents.core import Budget, completed, make_agent
from sysgym_agents.dataflow import gdp_train, hdp_train
from sysgym_agents.dataflow import schedule_kernels as kernels
from sysgym_agents.dataflow.baselines import Expert, _tables
from sysgym_agents.general.restarts import Restarted
from sysgym_zoo.jobs.ablation import compare
from sysgym_zoo.jobs.evaluate import solve_once, summarise

GRAPH, TIGHT = "layered/test-0", 0.5


@pytest.mark.parametrize("budget", [Budget(seconds=0.0), Budget(cpu_seconds=0.0), Budget(steps=1)])
def test_the_annealer_answers_the_experts_placement_first(budget: Budget) -> None:
    """Everything on one device, which came first, exceeds its memory here."""
    problem = make_problem("DevicePlacement")
    graph = problem.load("seeds/gnmt_8l")
    single, expert, found = (
        problem.judge(graph, make_agent(name).solve(problem, graph, np.random.default_rng(0), budget))
        for name in ("single", "expert", "sa-device")
    )
    assert not single.feasible and found.feasible and found.cost <= expert.cost


LEARNERS: dict[str, dict[str, Any]] = {
    "hdp": {"warm": 2, "hidden": 8, "grouper": 8}, "placeto": {"hidden": 8, "rounds": 1},
    "gdp": {"hidden": 8, "samples": 2, "epochs": 1}, "go": {"hidden": 8, "samples": 2, "epochs": 1},
}  # fmt: skip


def answered(name: str, task: Any, graph: Any, budget: Budget) -> tuple[Any, Any]:
    agent = make_agent(name, **LEARNERS[name])
    agent.prepare()
    return agent, task.judge(graph, agent.solve(task, graph, np.random.default_rng(0), budget))


@pytest.mark.parametrize("budget", [Budget(seconds=0.0), Budget(cpu_seconds=0.0), Budget(steps=1)], ids=str)
@pytest.mark.parametrize("name", LEARNERS)
def test_learners_fall_back_on_the_expert_where_nothing_fits(name: str, budget: Budget) -> None:
    """The capacity is so small that hardly any placement fits but the expert's."""
    task = make_problem("DevicePlacement", mem_factor=TIGHT)
    graph = task.load(GRAPH)
    expert, single = (
        task.judge(graph, make_agent(each).solve(task, graph, np.random.default_rng(0), Budget()))
        for each in ("expert", "single")
    )
    assert expert.feasible and not single.feasible
    agent, found = answered(name, task, graph, budget)
    assert found.feasible and (not agent.fell_back or found.cost == expert.cost)
    assert agent.fallback


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", LEARNERS)
def test_learners_simulate_no_more_than_the_steps(name: str, trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where placements are simulated; the fallback, which nothing asks for here, is a rule's."""
    task, found = make_problem("DevicePlacement", mem_factor=100.0), [0]
    graph, agent = task.load(GRAPH), make_agent(name, **LEARNERS[name])
    agent.prepare()
    if trained:
        agent.fit(task, [task.load("layered/train-0")], np.random.default_rng(0), Budget(steps=8))
    for module in (gdp_train, hdp_train):
        kept = vars(module)["evaluate"]

        def counted(example: Any, tasks: Any, decision: Any, kept: Any = kept) -> Any:
            found[0] += len(next(iter(decision.values())))
            return kept(example, tasks, decision)

        monkeypatch.setattr(module, "evaluate", counted)
    job, score = task.job(graph), task.job(graph).score
    monkeypatch.setattr(task, "job", lambda instance: job)

    def scored(*given: Any) -> Any:
        found[0] += name == "placeto"
        return score(*given)

    monkeypatch.setattr(job, "score", scored)
    for steps in (1, 3, 4, 11):
        found[0] = 0
        solution = agent.solve(task, graph, np.random.default_rng(0), Budget(steps=steps))
        assert 1 <= found[0] <= steps and not agent.fell_back
        assert np.isfinite(task.judge(graph, solution).cost)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_a_learner_found_itself_is_its_answer(name: str) -> None:
    """Whatever fits, however much worse than the expert's it is: a table must not show the expert under its name."""
    task = make_problem("DevicePlacement", mem_factor=100.0)
    agent, found = answered(name, task, task.load(GRAPH), Budget(steps=1))
    assert found.feasible and not agent.fell_back


def test_the_row_says_that_an_answer_is_the_fallback() -> None:
    task = make_problem("DevicePlacement", mem_factor=TIGHT)
    graph = task.load(GRAPH)

    @completed
    class Lost(Expert):
        fallback, fell_back = "another's answer", True

    pair = ((Lost(), "lost"), (completed(Expert)(), "own"))
    rows = [solve_once(task, graph, agent, name, 0, Budget())[0] for agent, name in pair]
    assert rows[0]["fallback"] == "another's answer" and "fallback" not in rows[1]
    assert {line["agent"]: line["fallback"] for line in summarise(rows)} == {"lost": 1, "own": None}
    told = {"agent": "lost", "contestants": {"lost": {"role": "agent"}, "own": {"role": "rule"}}}
    lost, own = compare(rows, told)
    assert (lost["feasible"], own["feasible"], own["over agent"]) == ("0 %", "100 %", None)  # it found nothing
    assert Restarted(Lost()).fallback == "another's answer"


@pytest.mark.parametrize("tasks", ["placement", "placement+schedule+fusion", "schedule+fusion"])
def test_every_step_is_a_judged_answer(tasks: str) -> None:
    problem = make_problem("GraphOptimization", tasks=tasks)
    graph = problem.load("layered/test-0")
    job = problem.job(graph)
    calls = 0
    score = job._score

    def counted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        return score(*given)

    job._score = counted
    for steps in (1, 3, 40):
        calls, job._last = 0, None
        make_agent("sa-device").solve(problem, graph, np.random.default_rng(0), Budget(steps=steps))
        assert calls <= steps  # answers that change nothing count too, without a simulation


@pytest.mark.parametrize(("agent", "steps"), [("sa-device", 21), ("best-start", 96)])
def test_with_fusion_all_starts_come_before_the_rules_of_the_best(
    agent: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve starts by one rule, then the seven other rules with the best; without moves, all rules with all starts."""
    pytest.importorskip("pymetis")
    task = make_problem("GraphOptimization")
    graph = task.load(GRAPH)
    job, seen = task.job(graph), []
    score = type(job).score

    def spied(job: Any, placement: Array, priority: Array | None = None, fusion: Array | None = None) -> Any:
        found = score(job, placement, priority, fusion)
        seen.append((placement.tobytes(), (id(priority), id(fusion)), (found.over_bytes, found.cost)))
        return found

    monkeypatch.setattr(type(job), "score", spied)
    make_agent(agent).solve(task, graph, np.random.default_rng(0), Budget(steps=steps))
    count = 12  # starts: METIS four times, HEFT and m-ETF twice, four others
    first, rules = seen[:count], seen[count : count + 7]
    assert len({rule for _, rule, _ in first}) == 1
    best = min(first, key=lambda each: each[2])
    assert {place for place, _, _ in rules} == {best[0]} and len({rule for _, rule, _ in (*rules, best)}) == 8
    if agent == "best-start":
        assert len({(place, rule) for place, rule, _ in seen}) == 8 * len({place for place, _, _ in first})


def by_definition(tasks: Any, machines: Any, nodes: int) -> Array:
    """m-ETF as it is defined: of all ready operators and all devices, always the pair that can start first."""
    tie, in_ptr, in_tensor, out_ptr, use_ptr, use_node, tensor_src, size, times, source, held = tasks
    devices, place = len(machines.capacity), np.full(nodes, -1, np.int32)
    finish, free, room = np.zeros(nodes, np.int64), np.zeros(devices, np.int64), machines.capacity.copy()
    sent, home = np.full((len(tensor_src), devices), -1, np.int64), np.full(tie.max() + 2, -1)
    reach, need, pend = np.zeros((nodes, devices), np.int64), held.copy(), np.zeros(nodes, np.int64)
    for v in range(nodes):
        for u in tensor_src[in_tensor[in_ptr[v] : in_ptr[v + 1]]]:
            pend[v] += not source[u]
            need[v] += held[u] if source[u] else 0
    ready = [v for v in range(nodes) if pend[v] == 0 and not source[v]]
    links = (source, place, finish, sent, machines.bandwidth, machines.latency)
    while ready:
        keys = []
        for i, v in enumerate(ready):
            wanted = home[tie[v]] if tie[v] >= 0 else -1
            for d in range(devices) if wanted < 0 else [wanted]:
                late = 2**60 if wanted < 0 and need[v] > room[d] else 0
                keys.append((max(free[d], reach[v, d]) + late, i, d))
        _, i, d = min(keys)
        v = ready.pop(i)
        home[tie[v] if tie[v] >= 0 else -1] = d if tie[v] >= 0 else -1
        kernels._commit(v, d, max(free[d], reach[v, d]), in_ptr, in_tensor, tensor_src, size, times, source, place,
                        finish, free, room, held, sent, machines.bandwidth, machines.latency)  # fmt: skip
        for x in range(out_ptr[v], out_ptr[v + 1]):
            for c in use_node[use_ptr[x] : use_ptr[x + 1]]:
                pend[c] -= 1
                if pend[c] == 0:
                    ready.append(c)
                    for e in range(devices):
                        reach[c, e] = kernels._arrival(c, e, in_ptr, in_tensor, tensor_src, size, *links)
    return np.maximum(place, 0)


@pytest.mark.parametrize("options", [{}, {"mem_factor": 0.3}, {"mem_factor": 0.02}])
@pytest.mark.parametrize("colocate", [True, False])
def test_m_etf_is_what_its_definition_says(options: dict[str, Any], colocate: bool) -> None:
    problem = make_problem("DevicePlacement", **options)
    for name in ("layered/test-0", "layered/test-1", "doppler/ffnn"):
        job = problem.job(problem.load(name))
        tables = _tables(job, colocate)
        found = np.empty(job.graph.nodes, np.int32)
        kernels.earliest_start(*tables, found)
        assert np.array_equal(found, by_definition(*tables, job.graph.nodes)), name
