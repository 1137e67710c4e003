"""`sysgym tune`: what is tuned where, no trial lost or doubled, no test split, and one figure on it at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tuning_cases import WORDS, records, tuned

from sysgym import UsageError
from sysgym_agents.core import agent_class
from sysgym_zoo.lookup.recipes import load_recipe
from sysgym_zoo.tuning.files import FIRST_SEED, Lock, mended, report_folder, run_folder
from sysgym_zoo.tuning.space import space_of, word_of
from sysgym_zoo.tuning.tune import Asked, tune
from sysgym_zoo.tuning.winner import rows_of, toml
from sysgym_zoo.tuning.worker import INFEASIBLE, trained, value_of

Inline = Callable[..., Any]


# ------------------------------------------------------------------------------------------------ where to look


def test_what_is_tuned_is_declared_or_said() -> None:
    factory = agent_class("gap")
    shipped = {"hidden": 64, "layers": 2, "learning_rate": 5e-3, "balance": 20.0, "repair": True, "features": 0}
    space = space_of(factory, shipped, ["layers"], ["repair=true,false", "features=0:8", "hidden=16,32"], "gap")
    assert space == {
        "hidden": {"choices": [16, 32, 64]}, "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True, "whole": False},
        "balance": {"low": 0.5, "high": 20.0, "log": True, "whole": False}, "repair": {"choices": [True, False]},
        "features": {"low": 0, "high": 8, "log": False, "whole": True},
    }  # fmt: skip
    for said, sentence in (
        ("nope=1:2", "Known: "), ("hidden=5", "at least two"), ("hidden=5,5", "each once"), ("hidden=9:3", "below"),
        ("balance=0:3:log", "above 0"), ("balance=1:3:lin", "key=low:high"), ("repair=0:1", "key=a,b,c"),
        ("hidden=1:9999", "from 1 to 1024"), ("hidden=a:b", "whole number"), ("layers=1:3", "set and tuned at once"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=sentence):
            space_of(factory, shipped, ["layers"], [said], "gap")
    with pytest.raises(UsageError, match="declares no range"):
        space_of(factory, shipped, [*space, "layers"], [], "gap")


def test_words_of_values_are_read_as_they_were() -> None:
    from sysgym.core.options import parse_pairs

    values = {"hidden": 32, "learning_rate": 0.1 + 0.2, "repair": False, "balance": 1e-7}
    assert parse_pairs([word_of(*each) for each in values.items()], agent_class("gap"), "gap") == values
    assert tomllib.loads(toml({"a": {"x": 0.1 + 0.2, "s": 'a"\\\n', "b": {"c": [True, 1]}}, "z": None}))["a"] == {
        "x": 0.1 + 0.2, "s": 'a"\\\n', "b": {"c": [True, 1]},
    }  # fmt: skip


def test_the_value_of_a_trial() -> None:
    def best(feasible: float, ratio: float | None, cost: float | None) -> dict[str, Any]:
        return {"feasible": feasible, "ratio": ratio, "cost": cost}

    assert value_of([best(1, 0.5, 7), best(1, 2.0, 9)]) == pytest.approx(1.0)
    assert value_of([best(1, None, 7), best(1, None, -9)]) == -1.0  # without references costs count
    assert value_of([best(0.75, 0.5, 7), best(1, 0.5, 9)]) == pytest.approx(0.125 * INFEASIBLE + 0.5)
    assert value_of([best(0, None, None), best(1, 0.5, 9)]) == pytest.approx(0.5 * INFEASIBLE + 0.5)
    assert value_of([None]) == INFEASIBLE > value_of([best(0.9, 3.0, 1)]) > value_of([best(1, 3.0, 1)])


# ------------------------------------------------------------------------------------------------ a study


def test_a_study_from_the_command_line(plugin: None, inline: Inline, tmp_path: Path) -> None:
    told = json.loads(inline(*WORDS, "--json").stdout)
    trials, made = told["trials"], records(tmp_path / "s")
    assert sorted(row["trial"] for row in trials) == list(range(6)) and told["schema"] == "sysgym-study/1"
    complete = [row for row in trials if row["valid"] is not None]
    shipped = next(row for row in trials if row["trial"] == 0)
    assert (shipped["state"], shipped["sigma"], shipped["population"]) == ("shipped", 0.3, 8)
    assert complete[0]["valid"] == min(row["valid"] for row in complete) <= shipped["valid"]
    for row in complete:
        runs = [made[f"{row['trial']:04d}-s{FIRST_SEED + i}"] for i in (0, 1)]
        assert {run["seed"] for run in runs} == {FIRST_SEED, FIRST_SEED + 1}
        ratios = [run["best"]["ratio"] for run in runs]
        assert row["valid"] == pytest.approx(np.sqrt(ratios[0] * ratios[1]))
        assert all(run["agent"]["hyper"]["sigma"] == row["sigma"] for run in runs)
    assert {item["name"] for run in made.values() for item in run["eval"]["instances"]} == {
        "small/valid-0", "small/valid-1",
    }  # fmt: skip
    recipe = load_recipe("s/recipe.toml")
    assert (recipe.agent, recipe.hyper["sigma"]) == ("knapsack-rule", complete[0]["sigma"])
    assert recipe.origin["trial"] == complete[0]["trial"] and recipe.origin["valid_value"] == complete[0]["valid"]
    again = json.loads(inline("train", "--recipe", "s/recipe.toml", "--seed", str(FIRST_SEED), "--json").stdout)
    winner = made[f"{complete[0]['trial']:04d}-s{FIRST_SEED}"]
    assert again["weights_sha256"] == winner["weights_sha256"] and again["best"] == winner["best"]
    text = inline(*WORDS).stdout  # nothing is left to do
    assert ("is the winner: " in text or "nothing better than" in text) and records(tmp_path / "s") == made


def test_a_study_goes_on_with_more_trials_and_with_nothing_else(plugin: None, tmp_path: Path) -> None:
    tuned(tmp_path / "s", trials=3)
    before = records(tmp_path / "s")
    study = tuned(tmp_path / "s", trials=5)
    assert [trial.number for trial in study.finished()] == [0, 1, 2, 3, 4]
    assert before.items() <= records(tmp_path / "s").items()
    assert len({tuple(trial.params.items()) for trial in study.finished()}) == 5  # nothing is drawn twice
    for changes, sentence in (
        ({"trials": 2}, "holds a study of 5 trials"), ({"steps": 9}, "with budget steps 8, not 9"),
        ({"space": ["sigma=0.1:0.9"]}, "with space sigma"), ({"seeds": 3}, "with seeds 2, not 3"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=sentence):
            tuned(tmp_path / "s", **{"trials": 5, **changes})
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match="holds other files"):
        tuned(tmp_path / "t")


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_pruned_trials_count_and_what_is_shipped_is_never_pruned(plugin: None, tmp_path: Path, pruner: str) -> None:
    study = tuned(tmp_path / "s", word="dial", trials=14, pruner=pruner, steps=12, space=["sigma=1e-6:500:log"])
    states = [trial.state.name for trial in study.finished()]
    assert len(states) == 14 and states[0] == "COMPLETE" and "PRUNED" in states
    made = records(tmp_path / "s")
    for trial in study.finished():
        runs = [run for name, run in made.items() if name.startswith(f"{trial.number:04d}-")]
        assert len(runs) == (1 if trial.state.name == "PRUNED" else 2)
        assert bool(runs[0].get("pruned")) == (trial.state.name == "PRUNED")
        assert set(trial.intermediate_values) == set(range(1, len(trial.intermediate_values) + 1))


def test_trials_that_cannot_train_are_finished_too(plugin: None, tmp_path: Path) -> None:
    study = tuned(tmp_path / "s", space=["sigma=0.1,0.3,5000"], changes=["population=4"], sampler="random", trials=8)
    failed = [trial for trial in study.finished() if trial.state.name == "FAIL"]
    assert len(study.finished()) == 8 and failed and all(trial.params["sigma"] == 5000 for trial in failed)
    assert "must be positive" in failed[0].user_attrs["error"]
    assert [row["state"] for row in rows_of(study)][-1] == "failed"
    with pytest.raises(UsageError, match=r"no trial of .* is complete, so there is no winner: nothing can be learnt"):
        tuned(tmp_path / "t", word="dial", changes=["sigma=7"], trials=2).best()


def test_a_database_holds_the_trials_where_it_is_asked_for(plugin: None, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'trials.db'}"
    for name in ("s", "t"):  # two studies in one
        assert len(tuned(tmp_path / name, trials=2, storage=storage).finished()) == 2
    assert not (tmp_path / "s" / "journal.log").exists()
    for url in ("nodb:///x", "nonsense", f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}"):
        with pytest.raises(UsageError, match="cannot be used"):
            tuned(tmp_path / "u", storage=url)
        assert not (tmp_path / "u" / "study.json").exists()
    assert len(tuned(tmp_path / "u", trials=1, storage=storage).finished()) == 1  # the corrected command


def test_no_choice_is_made_on_a_test_split(plugin: None, tmp_path: Path) -> None:
    for changes, sentence in (
        ({"instances": "small/test-1"}, "test split of small, .* use --instances small/train"),
        ({"valid": "small/test"}, "test split of small, .* use --eval-instances small/valid"),
        ({"instances": "small/valid"}, "has no valid split to choose on"),
        ({"steps": None, "cpu_seconds": 1.0, "every": None}, "add --eval-every"),
        ({"sampler": "grid"}, "unknown sampler"), ({"pruner": "x"}, "unknown pruner"),
        ({"seeds": 0}, "--seeds must be from 1"), ({"word": "ldg"}, "does not learn"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=sentence):
            tuned(tmp_path / "s", **changes)
    assert not (tmp_path / "s").exists()
    with pytest.raises(UsageError, match="add --steps N or --cpu-seconds"):
        tune(Asked(word="ppo-refine"), tmp_path / "s")


def test_the_winner_is_reported_once(plugin: None, inline: Inline, tmp_path: Path) -> None:
    """On seeds of its own; the figure is the mean over its answers, computed here again."""
    from sysgym.core.registry import make_problem
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs.evaluate import solve_once
    from sysgym_zoo.lookup.resolve import build_agent

    said = inline(*WORDS, "--report", "small/valid", code=2).stderr
    assert "small/valid-0 was trained or chosen on" in said
    told = json.loads(inline(*WORDS, "--report", "small/test", "--json").stdout)["test"]
    problem, ratios, best = make_problem("Knapsack"), [], load_recipe("s/recipe.toml").origin["trial"]
    for seed in (0, 1):
        run = json.loads((report_folder(tmp_path / "s", best, seed) / "run.json").read_text())
        assert run["seed"] == seed
        solver = build_agent(str(report_folder(tmp_path / "s", best, seed) / "best"), problem)
        rows = [solve_once(problem, problem.load(f"small/test-{i}"), solver.agent, "", seed, Budget())[0]
                for i in range(3)]  # fmt: skip
        ratios += [row["ratio"] for row in rows]
    assert told["ratio"] == pytest.approx(np.exp(np.mean(np.log(ratios)))) and told["instances"] == 3
    assert load_recipe("s/recipe.toml").origin["test"]["ratio"] == told["ratio"]
    kept = (tmp_path / "s" / "report.json").read_bytes()
    assert "was reported on small/test already" in inline(*WORDS, "--report", "small/test", code=2).stderr
    more = [word if word != "6" else "7" for word in WORDS]
    assert "begin a new study" in inline(*WORDS, "--report", "small/test-0", code=2).stderr
    assert "start a new study" in inline(*more, code=2).stderr
    assert (tmp_path / "s" / "report.json").read_bytes() == kept


def test_pictures(plugin: None, inline: Inline, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = [word if word != "6" else "8" for word in WORDS]
    told = json.loads(inline(*words, "--pruner", "none", "--json").stdout)
    assert [Path(file).name for file in told["pictures"]] == ["parallel.png", "importance.png"]
    for file in told["pictures"]:
        picture = np.asarray(Image.open(tmp_path / file).convert("RGB"))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


# ------------------------------------------------------------------------------------------------ several processes


def test_locks_are_freed_with_their_process(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from sysgym_zoo.tuning.files import Lock
Lock(Path({str(tmp_path / "x")!r})).acquire()
print("held", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        lock = Lock(tmp_path / "x")
        assert not lock.acquire(wait=False)
        holder.kill()
        holder.wait()
        assert lock.acquire(wait=False)
        lock.release()


@pytest.mark.parametrize(
    ("held", "kept"), [(b"", b""), (b"{}\n", b"{}\n"), (b'{}\n{"a', b"{}\n"), (b'{"a', b""),
                       (b"{}\n" + b"x" * 9000, b"{}\n")],
)  # fmt: skip
def test_a_line_that_a_kill_cut_off_is_forgotten(held: bytes, kept: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(held)
    mended(tmp_path / "journal")
    assert (tmp_path / "journal").read_bytes() == kept


def test_what_a_killed_process_left_behind_is_taken_up(plugin: None, tmp_path: Path) -> None:
    """A trial without parameters, one whose first training is done, and half a line in the journal."""
    from sysgym_zoo.tuning.space import suggested
    from sysgym_zoo.tuning.study import Study

    study = tuned(tmp_path / "s", trials=2)
    facts = json.loads((tmp_path / "s" / "study.json").read_text())
    (tmp_path / "s" / "study.json").write_text(json.dumps({**facts, "trials": 6}))
    study = Study(tmp_path / "s")
    first, second = study.claim(), study.claim()
    params = suggested(second.trial, study.facts["space"])
    done = trained(study.facts, params, FIRST_SEED, run_folder(study.folder, second.number, FIRST_SEED))
    (tmp_path / "s" / "trials" / f"{second.number:04d}-s{FIRST_SEED + 1}").mkdir()  # killed before its record
    for claim in (first, second):
        claim.lock.release()  # as the kernel does
    with (tmp_path / "s" / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":4,"worker')
    study = tuned(tmp_path / "s", trials=6)
    assert [(trial.number, trial.state.name in ("COMPLETE", "PRUNED")) for trial in study.trials()] == [
        (number, True) for number in range(6)
    ]
    assert study.trials()[second.number].params == params
    assert records(tmp_path / "s")[f"{second.number:04d}-s{FIRST_SEED}"] == done


def test_trainings_on_files_of_ones_own_are_gone_on_with(tmp_path: Path, inline: Inline) -> None:
    """A killed training of a recipe's file, on graphs in files: it is resumed without naming them again."""

    pytest.importorskip("optuna")
    for name, count in (("a", 12), ("b", 14)):
        ring = [f"{(i - 1) % count + 1} {(i + 1) % count + 1}" for i in range(count)]
        (tmp_path / f"{name}.graph").write_text(f"{count} {count}\n" + "\n".join(ring) + "\n")
    (tmp_path / "mine.toml").write_text(
        'agent = "gap"\nproblem = "Partitioning"\n[hyper]\nhidden = 8\ntrials = 1\n'
        '[eval]\ninstances = "b.graph"\nevery = 500\n[budget]\nsteps = 1000\n'
    )
    asked = Asked(word="mine.toml", instances="a.graph", steps=20, every=10, seeds=1, trials=1)
    study = tune(asked, tmp_path / "s")
    (out,) = (tmp_path / "s" / "trials").glob("*-s*")
    done = json.loads((out / "run.json").read_text())
    assert done["agent"]["hyper"]["hidden"] == 8 and done["eval"]["instances"][0]["name"] == "b.graph"
    (out / "run.json").write_text(json.dumps({**done, "status": "running"}))
    again = trained(study.facts, study.best().params, FIRST_SEED, out)
    assert (again["status"], again["weights_sha256"]) == ("done", done["weights_sha256"]) and "resumed_at" in again


@pytest.mark.slow
def test_two_processes_on_one_journal_one_killed(tmp_path: Path) -> None:
    """No trial is lost or doubled: the survivor takes up what the other left behind, in its run folders."""
    pytest.importorskip("optuna")
    words = [sys.executable, "-m", "sysgym_zoo.cli", "tune", "gap", "--instances", "tiny/train", "--steps", "60"]
    words += ["--trials", "8", "--set", "hidden=16", "--pruner", "none", "--study", "s", "--eval-every", "20"]
    both = [subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(2)]  # fmt: skip
    until = time.monotonic() + 300
    while len(list(tmp_path.glob("s/trials/*/agent"))) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(both[1].pid, signal.SIGKILL)
    both[1].communicate()
    out, _ = both[0].communicate(timeout=300)
    assert both[0].returncode == 0 and ("is the winner" in out or "nothing better" in out)
    made = records(tmp_path / "s")
    assert sorted(made) == [f"{number:04d}-s{FIRST_SEED + i}" for number in range(8) for i in (0, 1)]
    assert {run["status"] for run in made.values()} == {"done"}
    pairs = [[run["agent"]["hyper"] for name, run in made.items() if name.startswith(f"{n:04d}")] for n in range(8)]
    assert all(one == two for one, two in pairs) and len({str(one) for one, _ in pairs}) == 8
    for run in made.values():
        assert run["budget"]["steps"] == 60
    told = subprocess.run([*words, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(row["trial"] for row in json.loads(told.stdout)["trials"]) == list(range(8))
    assert records(tmp_path / "s") == made
