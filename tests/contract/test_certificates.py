"""One truth from the environment to the board, for every registered problem and mode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import Case, first_instance, over_cases, over_problems

import sysgym
from sysgym.core.env import ProblemEnv
from sysgym.core.instances import find_entry
from sysgym.core.registry import make_problem, problem_class
from sysgym.core.solutions import freedom_of, restricted, widest_of
from sysgym_agents.general.random import sample_action
from sysgym_leaderboards import Answer, Board, Store, board_names, load_board, pack, rank
from sysgym_leaderboards.judge import judge_of


@pytest.mark.parametrize("case", over_cases())
def test_the_end_of_an_episode_is_the_judged_cost_is_the_certificate(
    case: Case, forked_judge: None, tmp_path: Path
) -> None:
    env: Any = case.make().unwrapped
    chosen = [item.name for item in env.instances.items[:2]]
    board = Board(
        "contract-v1", "Contract", case.name.removeprefix("sysgym/"), case.variant, tuple(chosen), seeds=1,
        division="solutions", reference=next(iter(env.problem.reference_costs(env.instances.items[0]))),
        penalty=2.0, seconds=1.0,
    )  # fmt: skip
    rng, answers, ended = np.random.default_rng(0), {}, {}
    for instance in chosen:
        env.reset(seed=0, options={"instance": instance})
        over, info = False, {}
        while not over:
            _, _, over, _, info = env.step(sample_action(rng, env.action_space, env.action_masks()))
        ended[instance] = info["verdict"]
        answers[instance, 0] = Answer(env.solution(), ended[instance]["cost"])
    seen = {freedom_of(env.problem, env.problem.load(key[0]), answer.arrays) for key, answer in answers.items()}
    board = replace(board, freedom=widest_of(seen, env.problem.freedoms))
    file = pack(tmp_path / "a.zip", board, {"agent": "random"}, answers)
    judge_of(board.make_problem())  # the hash of its code once, not in each fork
    store = Store(tmp_path / "s.sqlite")
    certificate = store.submit(file, board)
    assert certificate.accepted, certificate.reason
    for row in certificate.rows:
        problem = board.make_problem()
        verdict = problem.judge(problem.load(row.instance), answers[row.instance, 0].arrays)
        assert row.feasible == verdict.feasible == ended[row.instance]["feasible"]
        assert row.cost == verdict.cost and row.as_dict()["cost"] == ended[row.instance]["cost"]
    (line,) = rank(board, store.entries(board))
    assert line.agent == "random" and line.feasible == np.mean([row.feasible for row in certificate.rows])
    if not certificate.rows[0].feasible:
        return
    better = {**answers, (chosen[0], 0): Answer(answers[chosen[0], 0].arrays, certificate.rows[0].cost - 1)}
    assert "the claimed cost is" in store.submit(pack(tmp_path / "b.zip", board, {"agent": "x"}, better), board).reason


@pytest.mark.parametrize("name", over_problems())
def test_freedoms_are_nested(name: str) -> None:
    """The widest leaves a solution as it is, what any leaves it leaves again, and each has its reference."""
    for variant in problem_class(name).variants:
        problem = make_problem(name, **variant)
        assert problem.restrict is not None or not problem.freedoms
        instance = problem.load(first_instance(problem))
        env: Any = ProblemEnv(problem, instance=instance)
        env.reset(seed=0)
        given, names = env.solution(), list(problem.freedoms)
        for freedom in names:
            once = restricted(problem, instance, given, freedom)
            twice = restricted(problem, instance, once, freedom)
            assert all(np.array_equal(once[key], twice[key]) for key in given)
            assert names.index(freedom_of(problem, instance, once)) <= names.index(freedom)
            told = problem.freedoms[freedom]
            assert told.about and (not told.reference or told.reference in problem.reference_costs(instance))
        kept = restricted(problem, instance, given, names[-1] if names else "")
        assert all(np.array_equal(kept[key], given[key]) for key in given)
        with pytest.raises(sysgym.UsageError, match="freedom"):
            restricted(problem, instance, given, "no such freedom")


def _dear(name: str) -> bool:
    """Whether images take seconds to prepare, or models to decode the references of instances."""
    return name == "clustering-unseen-v1" or load_board(name).division == "policy"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if _dear(name) else name for name in board_names()]
)
def test_every_board_is_complete(name: str, request: pytest.FixtureRequest) -> None:
    """Its instances exist, have the content that the index promises, and a reference cost."""
    board = load_board(name)
    assert board.id == name and name.rpartition("-v")[2].isdigit()
    problem = board.make_problem()
    assert f"{problem.name}-v{problem.version}" == board.problem.rpartition("/")[2]
    sets, names = problem.instance_sets(), board.instance_names(problem)
    assert names and len(board.pairs(problem)) == len(names) * board.seeds
    entries = {entry.name: find_entry(sets, entry.name) for group in sets.values() for entry in group.entries}
    if any(group.source == "public" and set(names) & set(group.names()) for group in sets.values()):
        request.getfixturevalue("public_data")  # skips where there is none
    asked = names[:: max(1, len(names) // 4)]  # a reference may take a second
    for instance, digest in board.instance_hashes(problem).items():
        loaded = problem.load(instance)
        assert sysgym.content_hash(loaded) == digest
        assert entries.get(instance) is None or entries[instance].hash == digest  # type: ignore[union-attr]
        if instance in asked:
            assert np.isfinite(problem.reference_costs(loaded)[board.reference])
