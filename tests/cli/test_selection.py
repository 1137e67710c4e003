"""Models that are evaluated while they are trained: what is measured, what is kept, and that nothing else changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym import UsageError
from sysgym_agents.core import Budget, Clock, agent_class, agent_registry, is_learner, uncounted
from sysgym_zoo.jobs import runs
from sysgym_zoo.jobs.plan import Training
from sysgym_zoo.jobs.selection import Schedule, Score, Selection, Wanted, refuse_test
from sysgym_zoo.jobs.train import train
from sysgym_zoo.lookup.naming import choose
from sysgym_zoo.lookup.resolve import build_agent
from sysgym_zoo.tracking.vocabulary import AXES, VOCABULARY

Inline = Callable[..., Any]
CASES: dict[str, dict[str, Any]] = {
    "ppo": {
        "options": ["mode=assign", "eps=0.2"], "instances": "tiny/train", "steps": 384,
        "changes": ["n_steps=16", "hidden=8", "batch_size=64", "num_envs=4", "learning_rate=0.01"],
        "evaluation": Wanted("tiny/grid-valid;tiny/delaunay-valid", 128),
    },
    "gap": {
        "instances": "tiny/train", "steps": 80, "changes": ["hidden=8"],
        "evaluation": Wanted("tiny/grid-valid;tiny/delaunay-valid", 30),
    },
    "gdp": {
        "problem": "DevicePlacement", "instances": "layered:depth=3,width=3,seed=1", "steps": 32,
        "changes": ["hidden=8", "heads=2", "samples=8", "trials=4"],
        "evaluation": Wanted("layered:depth=3,width=3,seed=2", 16),
    },
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Importing the libraries is no part of a test."""
    import torch.utils.tensorboard

    import sysgym_agents.general.sb3.training

    assert torch.utils.tensorboard and sysgym_agents.general.sb3.training


OTHERS: dict[str, dict[str, Any]] = {  # the same for every other learner
    **dict.fromkeys(("maskable-ppo", "trpo", "recurrent-ppo"), CASES["ppo"]),
    "a2c": {**CASES["ppo"], "changes": ["n_steps=16", "hidden=8", "num_envs=4"]},
    **{name: {**CASES["ppo"], "steps": 1200, "changes": ["hidden=8", "learning_starts=50"],
              "evaluation": Wanted("tiny/grid-valid", 500)} for name in ("dqn", "qrdqn")},
    "go": {**CASES["gdp"], "problem": "GraphOptimization"},
    "hdp": {**CASES["gdp"], "changes": ["hidden=8", "groups=4", "grouper=8", "warm=5"]},
    "placeto": {**CASES["gdp"], "changes": ["hidden=8"]},
    "learnt-anneal": {**CASES["gdp"], "steps": 2000, "changes": ["hidden=4", "moves=8", "updates=60"],
                      "evaluation": Wanted("layered:depth=3,width=3,seed=2", 400)},
    "learnt-list": {**CASES["gdp"], "steps": 20, "changes": ["rules=2", "pairs=1", "generated=1"],
                    "evaluation": Wanted("layered:depth=3,width=3,seed=2", 10)},
    **{name: {"problem": "AcceleratorDesign", "instances": "cnns/train-0;cnns/train-1", "steps": 100,
              "changes": ["hidden=8", "networks=2", "designs=60", "learning_rate=0.02"],
              "evaluation": Wanted("cnns/valid-0;cnns/valid-1", 40)} for name in ("surrogate", "guided-genetic")},
    "cnc": {"problem": "Clustering", "instances": "blobs/train-0;blobs/train-1", "steps": 100,
            "changes": ["hidden=8", "guided=false", "repair=none"],
            "evaluation": Wanted("blobs/valid-0;blobs/valid-1", 40)},
    "trainable-greedy": {
        "problem": "NMTDecoding", "instances": "ar2en/valid-0", "steps": 100, "changes": ["hidden=8", "batch=64"],
        "evaluation": Wanted("ar2en/valid-1;ar2en/valid-2", 40),
    },
    "learnt-fm": {
        "instances": "tiny/train", "steps": 20, "changes": ["pairs=1", "batch=2"],
        "evaluation": Wanted("tiny/grid-valid;tiny/delaunay-valid", 10),
    },
    "learnt-beam": {
        "problem": "NMTDecoding", "options": ["mode=width", "k=3"], "instances": "ar2en/valid-0", "steps": 1000,
        "changes": ["hidden=8", "batch=64", "sentences=20"], "evaluation": Wanted("ar2en/valid-1;ar2en/valid-2", 400),
    },
    "edge-gnn": {
        "instances": "tiles:rows=1,columns=1,seed=1", "steps": 32,
        "changes": ["hidden=8", "n_steps=8", "batch_size=16", "num_envs=2", "pretrain=2"],
        "evaluation": Wanted("tiles:rows=1,columns=1,seed=2", 16),
    },
}  # fmt: skip


def run(agent: str, out: Path, **changes: Any) -> dict[str, Any]:
    return train(Training(agent=agent, out=out, seed=4, **{"save_every": 0, **{**CASES, **OTHERS}[agent], **changes}))[
        1
    ]


def test_every_learner_has_a_case() -> None:
    learners = {name for name in agent_registry.entries() if is_learner(agent_class(name))}
    assert learners == {*CASES, *OTHERS}


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def evaluated(folder: Path) -> list[dict[str, float]]:
    return [row for row in metrics(folder) if "eval/feasible" in row]


@pytest.mark.parametrize("agent", [*CASES, *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS)])
def test_evaluations_change_neither_weights_nor_metrics(agent: str, tmp_path: Path, capsys: Any) -> None:
    with_them = run(agent, tmp_path / "with")
    capsys.readouterr()
    without = run(agent, tmp_path / "without", evaluation=Wanted())
    last = int(without["budget"]["steps"])
    assert f"training: {last} of {last} steps. " in capsys.readouterr().err  # every learner's line of progress
    assert with_them["weights_sha256"] == without["weights_sha256"]
    rows = metrics(tmp_path / "with")
    assert [{k: v for k, v in row.items() if k[:5] != "eval/"} for row in rows] == metrics(tmp_path / "without")
    every, steps = with_them["eval"]["every"], [row["steps"] for row in rows]
    due = [min(step for step in steps if step >= n) for n in range(every, int(steps[-1]) + 1, every)]
    assert [row["steps"] for row in evaluated(tmp_path / "with")] == list(dict.fromkeys(due)) and due
    assert without["eval"] is None and not (tmp_path / "without" / "best").exists()
    said = {key for row in rows for key in row}
    assert said <= {*VOCABULARY, *AXES} and {key.partition("/")[0] for key in said} & {"train", "rollout"}
    if agent == "gdp":  # a sample is an episode with one reward
        assert all(-10 <= row["rollout/ep_rew_mean"] < 0 for row in rows)


def test_the_best_model_scores_what_was_logged(tmp_path: Path) -> None:
    """Its answers, judged here, over the costs that its set's index holds."""
    options = ["mode=assign", "k=2", "eps=0.03"]
    record = run("ppo", tmp_path / "run", options=options)
    rows = evaluated(tmp_path / "run")
    order = [(-row["eval/feasible"], row.get("eval/ratio", np.inf)) for row in rows]
    best = rows[order.index(min(order))]
    assert record["best"]["steps"] == best["steps"]
    assert choose(str(tmp_path / "run" / "best")).run == (tmp_path / "run").resolve()
    problem = sysgym.make_problem("Partitioning", mode="assign", k=2, eps=0.03)
    entries = {entry.name: entry for entry in problem.instance_sets()["tiny"].entries}
    for word in ("best", f"checkpoints/{int(best['steps'])}"):
        solver = build_agent(str(tmp_path / "run" / word), problem)
        assert solver.name == f"ppo (run/{word})"
        verdicts, known = [], []
        for name in ("tiny/grid-valid", "tiny/delaunay-valid"):
            graph = problem.load(name)
            rng = np.random.default_rng([0, int(sysgym.content_hash(graph)[:12], 16)])
            verdict = problem.judge(graph, solver.agent.solve(problem, graph, rng, Budget()))
            if verdict.feasible:
                verdicts.append(verdict.cost)
                known.append(next(iter(entries[name].references["k=2,eps=0.03"].values())))
        assert best["eval/feasible"] == len(verdicts) / 2 and verdicts
        assert best["eval/cost"] == pytest.approx(np.mean(verdicts))
        assert best["eval/ratio"] == pytest.approx(np.exp(np.mean(np.log(verdicts) - np.log(known))))


def kill(place: str, steps: int, patched: pytest.MonkeyPatch) -> None:
    """Let the next training die when so many steps are logged, or when a model of so many becomes the best."""
    log, keep = runs.Run.log, Selection.keep

    def logged(run: Any, row: dict[str, float], step: int) -> None:
        if row["steps"] >= steps:
            raise KeyboardInterrupt
        log(run, row, step)

    def kept(selection: Selection) -> None:
        if selection.scores[-1].steps >= steps:
            raise KeyboardInterrupt
        keep(selection)

    patched.setattr(*((runs.Run, "log", logged) if place == "log" else (Selection, "keep", kept)))


@pytest.mark.parametrize(("agent", "place"), [("ppo", "log"), ("ppo", "keep"), ("gap", "keep")])
def test_a_run_that_was_killed_goes_on_with_the_best_and_the_schedule(
    agent: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(agent, tmp_path / "whole")
    first = evaluated(tmp_path / "whole")[0]["steps"]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        kill(place, int(first), patched)
        run(agent, tmp_path / "killed")
    (tmp_path / "killed" / ".best").mkdir(exist_ok=True)  # half of a model
    again = train(Training(resume=True, out=tmp_path / "killed", save_every=0))[1]
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    assert again["best"] == whole["best"] and again["weights_sha256"] == whole["weights_sha256"]
    model = [(tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert model[0] == model[1] and not (tmp_path / "killed" / ".best").exists()


def test_a_better_model_of_a_future_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    run("gap", tmp_path / "run")
    folder = tmp_path / "run"
    best = json.loads((folder / "run.json").read_text())["best"]["steps"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    cut = [row for row in rows if row["steps"] < best]
    selection = Selection(folder, Schedule([], 30), sysgym.make_problem("Partitioning"), "gap")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in cut))
    selection.resume(best - 20)  # from the checkpoint before
    earlier = [row["steps"] for row in cut if "eval/feasible" in row]
    assert (selection.best is None) == (not earlier) and (folder / "best").exists() == bool(earlier)
    assert best - 20 < selection.next <= best


def test_training_stops_where_nothing_better_comes(tmp_path: Path, capsys: Any) -> None:
    """Without a learning rate every evaluation finds the same."""
    asked = Wanted("tiny/valid", 64, stop_after=2)
    changes = [*CASES["ppo"]["changes"][:-1], "learning_rate=0"]
    record = run("ppo", tmp_path / "run", changes=changes, evaluation=asked)
    assert [row["steps"] for row in metrics(tmp_path / "run")] == [64, 128, 192]
    assert (record["status"], record["stopped_early"], record["best"]["steps"]) == ("done", True, 64)
    assert "stopped, as 2 evaluations brought nothing better" in capsys.readouterr().err
    again = train(Training(resume=True, out=tmp_path / "run"))[1]
    assert len(metrics(tmp_path / "run")) == 3 and again["best"] == record["best"]
    further = Training(resume=True, out=tmp_path / "run", evaluation=Wanted(stop_after=3))
    assert train(further)[1]["stopped_early"] and metrics(tmp_path / "run")[-1]["steps"] == 256


def test_feasible_answers_count_before_ratios_and_ratios_before_costs() -> None:
    scores = [Score(1, 0.0, None, None), Score(2, 0.5, None, 3.0), Score(3, 0.5, 2.0, 9.0), Score(4, 1.0, 5.0, 50.0),
              Score(5, 1.0, 4.0, 60.0)]  # fmt: skip
    assert [score.steps for score in sorted(scores, key=lambda score: score.rank)] == [5, 4, 3, 2, 1]


def test_an_evaluation_counts_for_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(time, name, lambda: now[0])
    clock = Clock(Budget(seconds=10.0))
    now[0] = 1.0
    with uncounted():
        now[0] = 9.0
        inner = Clock(Budget(seconds=2.0))
        now[0] = 10.0
        assert inner.share == 0.5
    now[0] = 12.0
    assert (clock.seconds, clock.cpu_seconds, clock.share) == (3.0, 3.0, 0.3)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--eval-instances", "tiny/test", "--eval-every", "9"), "in the test split of tiny, and results there would"),
        (("--eval-instances", "tiny/test", "--eval-every", "9"), "use --eval-instances tiny/valid"),
        (("--eval-instances", "tiny/valid"), "add --eval-every N (in steps)"),
        (("--eval-every", "9"), "add --eval-instances SET"),
        (("--stop-after", "9"), "add --eval-instances SET"),
        (("--eval-instances", "tiny/valid", "--eval-every", "0"), "--eval-every must be a whole number from 1, got 0"),
        (("--eval-instances", "tiny/valid", "--eval-every", "99"), "comes after the last of 40 steps; give 40 or less"),
        (("--eval-instances", "absent", "--eval-every", "9"), "absent"),
    ],
)
def test_what_cannot_be_is_a_sentence(words: tuple[str, ...], sentence: str, inline: Inline, tmp_path: Path) -> None:
    asked = ("train", "-a", "gap", "--instances", "tiny/train", "--steps", "40", "--out", "run")
    refused = inline(*asked, *words, code=2)
    assert sentence in refused.stderr and not (tmp_path / "run").exists()


def test_a_test_instance_is_known_by_its_content() -> None:
    problem = sysgym.make_problem("Partitioning")
    copy = problem.load("tiny/grid-test")
    with pytest.raises(UsageError, match="another is in the test split of tiny"):
        refuse_test(problem, [problem.load("tiny/grid-valid"), replace(copy, name="another")])


def test_a_recipe_may_say_how_a_model_is_evaluated(inline: Inline, tmp_path: Path) -> None:
    text = (
        'about = "x"\nagent = "gap"\nproblem = "Partitioning"\ninstances = "tiny/train"\n[hyper]\nhidden = 8\n'
        '[budget]\nsteps = 40\n[eval]\ninstances = "tiny/valid"\nevery = 20\n'
    )
    (tmp_path / "mine.toml").write_text(text)
    record = json.loads(inline("train", "--recipe", "mine.toml", "--eval-every", "40", "--out", "run", "--json").stdout)
    assert record["eval"]["every"] == 40 and len(record["eval"]["instances"]) == 4 and record["best"]["steps"] == 40
    late = inline("train", "-a", "gap", "--recipe", "mine.toml", "--seconds", "0.01", "--eval-every", "9999999")
    assert "no evaluation took place" in late.stderr
    for old, new, sentence in (
        ("every = 20", "every = 0", "every must be a whole number from 1, got 0"),
        ("every = 20", 'every = "x"', "every must be a whole number from 1"),
        ("every = 20", "evry = 20", "Did you mean 'every'"), ('"tiny/valid"', "3", "instances must be a text"),
    ):  # fmt: skip
        (tmp_path / "mine.toml").write_text(text.replace(old, new))
        assert sentence in inline("train", "--recipe", "mine.toml", code=2).stderr


# ------------------------------------------------------------------------------------------------ what learners tell


def test_sb3_learners_tell_the_ratio_to_reference_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a count of our own of every episode that was judged, over the costs of the index."""
    from sysgym.core.vector import ProblemVectorEnv

    played: list[tuple[str, Any]] = []
    judge = ProblemVectorEnv._verdict

    def judged(self: ProblemVectorEnv, row: int) -> Any:
        verdict = judge(self, row)
        played.append((self.instances.items[self.positions[row]].name, verdict))
        return verdict

    monkeypatch.setattr(ProblemVectorEnv, "_verdict", judged)
    run("ppo", tmp_path / "run", options=["mode=assign", "k=2", "eps=0.03"], evaluation=Wanted(), save_every=99)
    last = metrics(tmp_path / "run")[-1]
    entries = sysgym.make_problem("Partitioning").instance_sets()["tiny"].entries
    known = {entry.name: next(iter(entry.references["k=2,eps=0.03"].values())) for entry in entries}
    feasible = [(name, verdict.cost) for name, verdict in played if verdict.feasible]
    assert len({name for name, _ in played}) > 1 and len(played) < 100  # all are among the last hundred
    assert last["sysgym/feasible"] == len(feasible) / len(played)
    logs = [np.log(cost / known[name]) for name, cost in feasible]
    assert last["sysgym/cost_ratio"] == pytest.approx(np.exp(np.mean(logs)))
