"""Weighted moves of the annealer: slacks, features, draws, counts, and what the learner keeps."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym.dataflow.features import make_work
from sysgym_agents.core import Budget, Clock, make_agent
from sysgym_agents.dataflow.anneal import move_kernels as moves
from sysgym_agents.dataflow.anneal.compiled import CompiledSearch, Settings
from sysgym_agents.dataflow.anneal.labels import Wish, sampled
from sysgym_agents.dataflow.anneal.perceptron import fresh, scores
from sysgym_agents.dataflow.anneal.proposals import even, rule, tabled
from sysgym_agents.dataflow.anneal.schedule import FEATURES, Schedule, features, simulated
from sysgym_agents.dataflow.anneal.starts import starts_of

NAMES = ("layered/test-0", "layered/test-1", "doppler/ffnn")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def job_of(name: str, **options: Any) -> Any:
    problem = make_problem("DevicePlacement", **options)
    return problem.job(problem.load(name))


def latest_starts(job: Any, schedule: Schedule) -> tuple[list[int], list[int]]:
    """By definition: a graph of operators and transfers, each before those that follow it on a device or link."""
    graph, out, place, nodes = job.graph, schedule.outcome, schedule.place, job.graph.nodes
    times = [*(out.finish - out.start), *(out.spans[:, 1] - out.spans[:, 0])]
    begin = [*out.start, *out.spans[:, 0]]
    after: dict[int, list[tuple[int, int]]] = {i: [] for i in range(len(times))}  # and how much later at least
    order = sorted(range(len(times)), key=lambda i: (begin[i], i))
    for device in range(job.devices):
        for row in (
            [i for i in order if i < nodes and place[i] == device],
            [i for i in order if i >= nodes and place[graph.tensor_src[out.moves[i - nodes, 0]]] == device],
            [i for i in order if i >= nodes and out.moves[i - nodes, 1] == device],
        ):
            for one, two in itertools.pairwise(row):
                after[one].append((two, 0))
    sent = {(int(x), int(p)): nodes + m for m, (x, p) in enumerate(out.moves)}
    for x, reader in zip(graph.edge_tensor, graph.edge_dst, strict=True):
        source, there = int(graph.tensor_src[x]), int(place[reader])
        if place[source] == there:
            after[source].append((int(reader), 0))
        else:
            after[source].append((sent[int(x), there], 0))
            after[sent[int(x), there]].append((int(reader), int(job.cluster.latency_ns[place[source], there])))

    @cache
    def late(i: int) -> int:
        """The latest start: nothing may end after the makespan."""
        ends = [late(j) - wait for j, wait in after[i]]
        arrival = 0 if i < nodes else int(job.cluster.latency_ns[0, -1])
        return int(min([out.makespan_ns - arrival, *ends]) - times[i])

    for i in reversed(order):
        late(i)
    return [late(i) for i in range(nodes)], [late(i) for i in range(nodes, len(times))]


@pytest.mark.parametrize("name", NAMES)
def test_slacks_are_those_of_the_definition(name: str) -> None:
    job = job_of(name)
    for place in (job.expert, rng(1).integers(0, job.devices, job.graph.nodes).astype(np.int32)):
        schedule = simulated(job, place, None)
        slack, spare = schedule.spare
        operators, transfers = latest_starts(job, schedule)
        assert np.array_equal(slack, np.array(operators) - schedule.outcome.start)
        assert np.array_equal(spare, np.array(transfers) - schedule.outcome.spans[:, 0])
        assert slack.min() == 0 and (len(spare) == 0 or spare.min() >= 0)
        ends = schedule.outcome.finish == schedule.outcome.makespan_ns
        assert (slack[ends] == 0).all() and (slack[schedule.outcome.start == 0] == 0).any()


def test_features_do_not_depend_on_the_numbers_of_devices() -> None:
    job = job_of("seeds/txl_2l", devices=4)
    work, schedule = make_work(job, "layers", 64), simulated(job, job.expert, None)
    turn = np.array([2, 0, 3, 1])
    out = schedule.outcome
    moved = out.moves.copy()
    moved[:, 1] = turn[out.moves[:, 1]]
    turned = Schedule(job, turn[job.expert], out._replace(moves=moved, busy_ns=out.busy_ns[np.argsort(turn)]))
    one, two = features(schedule, work), features(turned, work)
    assert one.shape == (work.units.count, 4, len(FEATURES)) and one.dtype == np.float32
    assert np.allclose(one, two[:, turn], atol=1e-5)
    assert np.isfinite(one).all() and one.std(axis=(0, 1)).min() >= 0


def test_busy_shares_and_crossings_add_up() -> None:
    job = job_of("seeds/txl_2l")
    schedule = simulated(job, job.expert, None)
    work = make_work(job, "layers", 64)
    busy = schedule.busy.mean(axis=1) * schedule.end
    assert np.allclose(busy, schedule.outcome.busy_ns, rtol=1e-6)
    crossing = schedule.crossings(work)  # once from the source's unit, once from those of the readers
    out = schedule.outcome
    spent = schedule.critical[1] * (out.spans[:, 1] - out.spans[:, 0] + job.cluster.latency_ns[0, -1])
    assert crossing.sum() == pytest.approx(2 * spent.sum())
    assert not simulated(job, job.single, None).crossings(work).any()


def test_draws_follow_weights_and_what_is_refused_waits() -> None:
    given = np.array([1.0, 0.0, 3.0, 0.0, 4.0, 2.0])
    table = moves.Table(given, given.copy(), np.cumsum(given), np.full(1, -1, np.int64))
    random = np.array([5], np.uint64)

    def shares() -> Any:
        drawn = [moves._weighted(table, random) for _ in range(4000)]
        return np.bincount(drawn, minlength=6) / 4000

    assert np.allclose(shares(), given / 10, atol=0.03)
    table.last[0] = 4
    moves._refuse(table)
    assert np.allclose(shares(), np.array([1, 0, 3, 0, 0, 2]) / 6, atol=0.03)
    for table.last[0] in (0, 2, 5):
        moves._refuse(table)
    assert moves._weighted(table, random) == -1
    moves._restore(table)
    assert np.allclose(shares(), given / 10, atol=0.03)


def searched(job: Any, steps: int, propose: Any) -> tuple[CompiledSearch, Any]:
    search = CompiledSearch(
        job, ("placement",), Settings(0.005, 0.0005, 64, steps, 300, propose=propose), Clock(Budget(steps=steps))
    )
    search.begin(starts_of(job, rng(), metis=False))
    return search, search.run(3)


@pytest.mark.parametrize("steps", [1, 10, 65, 400, 1500])
@pytest.mark.parametrize("name", NAMES)
def test_a_proposer_changes_no_count_and_no_cost(name: str, steps: int) -> None:
    job = job_of(name)
    for propose in (rule, lambda schedule, work: np.zeros((3, work.units.count, job.devices))):
        search, found = searched(job, steps, propose)
        assert search.judged == steps
        assert job._score(found.placement, found.priority, None, "fifo").cost == found.cost


def test_a_proposer_that_knows_what_moves_save_helps() -> None:
    job = job_of("seeds/txl_2l")

    def told(schedule: Schedule, work: Any) -> Any:
        weights, now = np.zeros((3, work.units.count, job.devices)), schedule.outcome.makespan_ns
        for unit, device in itertools.product(range(work.units.count), range(job.devices)):
            there = np.where(work.units.of == unit, device, schedule.place)
            weights[0, unit, device] = max(0, now - (job.lean.makespan(there, None, now) or now))
        return weights

    costs = [searched(job, 30, each)[1].cost for each in (None, told)]
    assert costs[1] < 0.98 * costs[0]


def test_time_is_kept_with_weights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel returns early for newer weights, from which nothing follows for how much it simulates in a slice."""
    job, quotas = job_of("layered/test-1"), []
    plan = CompiledSearch._plan
    monkeypatch.setattr(CompiledSearch, "_plan", lambda self, share, quota, made: (
        quotas.append(quota), plan(self, share, quota, made))[1])  # fmt: skip
    clock = Clock(Budget(cpu_seconds=0.15))
    search = CompiledSearch(job, ("placement",), Settings(0.005, 0.0005, 64, 10**9, 300, propose=rule), clock)
    search.begin([])
    search.run(1)
    assert len(quotas) > 20 and max(quotas) < 10**8 and search.judged > 100


class Counted:
    """A job that remembers which placements were simulated."""

    def __init__(self, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: set[bytes] = set()
        score, makespan = job._score, job.lean.makespan

        def scored(*given: Any) -> Any:
            self.seen.add(b"".join(np.asarray(each).tobytes() if each is not None else b"-" for each in given[:3]))
            return score(*given)

        def lean(placement: Any, priority: Any = None, *rest: Any) -> Any:
            parts = (placement, priority, None)
            self.seen.add(b"".join(np.asarray(each).tobytes() if each is not None else b"-" for each in parts))
            return makespan(placement, priority, *rest)

        monkeypatch.setattr(job, "_score", scored)
        monkeypatch.setattr(job.lean, "makespan", lean)


@pytest.mark.parametrize("options", [{}, {"noise": 0.1}])
def test_starts_count_one_each_whoever_asks(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem("DevicePlacement", **options)
    graph = problem.load("layered/test-1")
    job = problem.job(graph)
    monkeypatch.setattr(problem, "job", lambda instance: job)
    counted = Counted(job, monkeypatch)
    costs = []
    for steps in (1, 2, 5, 10, 65):
        counted.seen.clear()
        job._last = None
        found = make_agent("best-start").solve(problem, graph, rng(), Budget(steps=steps))
        assert len(counted.seen) <= steps
        costs.append(job.score(found["placement"]).cost)
    assert costs == sorted(costs, reverse=True) and costs[0] == job.score(job.expert).cost
    if not options:
        each = [job.score(start.make()) for start in starts_of(job, rng(), True)]
        assert costs[-1] == min(score.cost for score in each if not score.over_bytes)


@pytest.mark.parametrize("options", [{}, {"tasks": "placement"}, {"tasks": "placement", "noise": 0.2}])
def test_every_step_of_a_proposer_is_a_judged_answer(options: dict[str, Any]) -> None:
    """With fusion and with noise the search is not compiled; schedules for weights are no answers."""
    problem = make_problem("GraphOptimization", **options)
    graph = problem.load("layered/test-0")
    job, calls = problem.job(graph), [0]
    score = job._score

    def counted(*given: Any) -> Any:
        calls[0] += 1
        return score(*given)

    job._score = counted
    problem.job = lambda instance: job
    for steps in (1, 10, 65):
        calls[0], job._last = 0, None
        make_agent("sa-device", propose="rule").solve(problem, graph, rng(), Budget(steps=steps))
        assert calls[0] <= steps


@pytest.mark.parametrize("options", [{"objective": "throughput"}, {"simulator": "placeto"}])
def test_other_simulators_have_no_schedule(options: dict[str, Any]) -> None:
    problem = make_problem("DevicePlacement", **options)
    graph = problem.load("layered/test-0")
    with pytest.raises(UsageError, match="use sa-device with propose=uniform"):
        make_agent("sa-device", propose="rule").solve(problem, graph, rng(), Budget(steps=3))
    make_agent("sa-device").solve(problem, graph, rng(), Budget(steps=3))
    with pytest.raises(UsageError, match="use sa-device with propose=uniform"):
        make_agent("learnt-anneal").fit(problem, [graph], rng(), Budget(steps=3))


QUICK: dict[str, Any] = {"hidden": 8, "updates": 150, "moves": 24}


@cache
def fitted() -> Any:
    problem = make_problem("DevicePlacement")
    agent = make_agent("learnt-anneal", **QUICK)
    heard: list[dict[str, float]] = []
    graphs = [problem.load(f"layered/train-{i}") for i in range(2)]
    agent.fit(problem, graphs, rng(), Budget(steps=8000), lambda row: heard.append(row) or True)
    losses = [row["loss"] for row in heard if "loss" in row]
    assert heard[-1]["steps"] == 8000 and losses[-1] < losses[0]
    return agent


def test_what_is_learnt_finds_savings_on_other_graphs() -> None:
    net, job = fitted().net, job_of("layered/test-1")
    blank = fresh(8, net.mean, net.deviation, rng(9))
    drawn = []
    for seed in range(12):
        sample, _ = sampled(job, Wish(64, 64, 0), 10**6, rng(seed))
        gain = np.maximum(sample.gain, 0)
        if gain.any():
            each = [scores(one, sample.inputs)[np.arange(64), sample.kind] for one in (net, blank)]
            drawn.append([(np.exp(2 * score) @ gain) / np.exp(2 * score).sum() / gain.mean() for score in each])
    learnt, untrained = np.mean(drawn, axis=0)
    assert learnt > 1.5 and learnt > 1.3 * untrained


def test_weights_come_back_are_forgotten_and_checked(tmp_path: Path) -> None:
    problem, agent = make_problem("DevicePlacement"), fitted()
    graph = problem.load("layered/test-1")
    agent.save(tmp_path)
    again = make_agent("learnt-anneal")
    again.load(tmp_path)
    one, two = (each.solve(problem, graph, rng(1), Budget(steps=65))["placement"] for each in (agent, again))
    assert np.array_equal(one, two)
    assert again.forget(rng()) and not np.array_equal(again.net.first, agent.net.first)
    untrained, even = (make_agent(name).solve(problem, graph, rng(1), Budget(steps=65))["placement"]
                       for name in ("learnt-anneal", "sa-device"))  # fmt: skip
    assert np.array_equal(untrained, even) and not np.array_equal(untrained, one)
    (tmp_path / "agent.json").write_text((tmp_path / "agent.json").read_text().replace('"hidden": 8', '"hidden": 7'))
    with pytest.raises(UsageError, match=r"does not fit agent\.json"):
        make_agent("learnt-anneal").load(tmp_path)


@pytest.mark.parametrize("further", [0, 3])
def test_labels_take_no_more_simulations_than_are_left(further: int) -> None:
    job, wish = job_of("layered/test-0"), Wish(64, 16, further)
    for left in (1, 2, 5, 9, 40, 300, 10**6):
        sample, judged = sampled(job, wish, left, rng(2))
        assert sample.inputs.shape == (16, len(FEATURES)) and sample.kind.shape == sample.gain.shape == (16,)
        assert judged == left if left < 500 else 17 * (1 + further) < judged < left
        assert (sample.gain < 1).all() and (left < 300 or np.ptp(sample.gain) > 0)


def test_no_weights_no_table() -> None:
    job = job_of("layered/test-0")
    assert not even().given.size
    table = tabled(rule, simulated(job, job.expert, None), [make_work(job, "layers", 64)])
    work = make_work(job, "layers", 64)
    assert table.given.size == 3 * work.units.count * job.devices and table.given.min() == 0 < table.given.max()
    weights = table.given.reshape(3, work.units.count, job.devices)
    assert not weights[:, np.arange(work.units.count), job.expert[work.first]].any()
