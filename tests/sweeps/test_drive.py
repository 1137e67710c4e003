"""The head of a sweep, with a backend in this process: what runs, in which order, how often, and what is said."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from here import Here, died, facts

import sysgym
from sysgym_zoo.jobs import evaluate as evaluating
from sysgym_zoo.sweeps import execute
from sysgym_zoo.sweeps.backends import Task
from sysgym_zoo.sweeps.drive import (
    Unfinished,
    folder_of,
    load_record,
    load_units,
    run_sweep,
    status_rows,
    told,
)
from sysgym_zoo.sweeps.execute import BUSY, FULL, perform, plain, state
from sysgym_zoo.sweeps.files import load_sweep
from sysgym_zoo.sweeps.table import sweep_report


def sweep(file: Path, backend: Here, out: str = "out") -> Path:
    root = Path(out)
    run_sweep(load_sweep(file), root, lambda: backend)
    return root


def test_a_sweep_runs_once_and_is_the_same_elsewhere(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Here()
    root = sweep(small, first)
    units = load_units(root)
    assert sorted(first.started) == sorted(unit.id for unit in units) and len(units) == 6
    assert all(first.started.index(unit.id) > first.started.index(unit.needs) for unit in units if unit.needs)
    again = Here()
    sweep(small, again)
    assert again.started == [] and "all 6 runs are done" in capsys.readouterr().err
    other = sweep(small, Here(), "other")
    assert facts(root) == facts(other) and len(set(map(str, facts(root).values()))) > 3
    rows, text = sweep_report(root)
    assert [row["agent"] for row in rows if row["over fm"] is None] == ["fm"] and "gap" in text
    assert {row["agent"]: row["runs"] for row in rows} == {"fm": 1, "ldg": 1, "gap": 2}


def test_what_is_broken_runs_again_and_nothing_is_thrown_away(small: Path) -> None:
    root = sweep(small, Here())
    before, (one, two, *_) = facts(root), [unit for unit in load_units(root) if unit.kind == "train"]
    evaluated = next(unit for unit in load_units(root) if unit.needs == two.id)
    classical = next(unit for unit in load_units(root) if unit.label == "fm")
    weights = one.folder(root) / "agent" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    shutil.rmtree(two.folder(root))
    next((evaluated.folder(root) / "solutions").iterdir()).unlink()
    record = json.loads((classical.folder(root) / "run.json").read_text())
    (classical.folder(root) / "run.json").write_text(json.dumps({**record, "status": "running"}))
    lines = (classical.folder(root) / "metrics.jsonl").read_text().splitlines()
    (classical.folder(root) / "metrics.jsonl").write_text(lines[0] + "\n" + lines[1][:20])  # cut off by a kill
    assert [state(root, unit) for unit in (one, two, evaluated, classical)] == [
        "broken", "missing", "broken", "interrupted",
    ]  # fmt: skip
    also = next(unit for unit in load_units(root) if unit.needs == one.id)  # looked at again after its training
    again = Here()
    sweep(small, again)
    assert set(again.started) == {one.id, two.id, evaluated.id, classical.id, also.id} and facts(root) == before
    assert sorted(path.name for path in (root / "broken").iterdir()) == sorted([f"{one.id}-1", f"{evaluated.id}-1"])
    assert (root / "broken" / f"{one.id}-1" / "agent" / "model.safetensors").read_bytes()[-1:] == b"x"


def test_a_file_that_asks_for_more_runs_what_is_new(small: Path) -> None:
    root = sweep(small, Here())
    small.write_text(small.read_text().replace("seeds = 2", "seeds = 3").replace('"fm", "ldg"', '"fm"'))
    again = Here()
    sweep(small, again)
    assert len(again.started) == 2
    assert [told["label"] for told in load_record(root)["former"]] == ["ldg"]
    assert len(list((root / "runs").iterdir())) == 8


def test_an_evaluation_goes_on_where_it_was_killed(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = facts(sweep(small, Here(), "whole"))
    real, solved = evaluating.solve_once, [0]

    def stopping(*args: Any) -> Any:
        solved[0] += 1
        if solved[0] == 2:
            raise KeyboardInterrupt
        return real(*args)

    (unit,) = [unit for unit in load_units(Path("whole")) if unit.label == "ldg"]
    monkeypatch.setattr(evaluating, "solve_once", stopping)
    outcome = perform(str(Path("part").resolve()), str(Path.cwd()), plain(unit))
    assert outcome == {"status": "interrupted"} and state(Path("part"), unit) == "interrupted"
    solved[0] = 10
    assert perform(str(Path("part").resolve()), str(Path.cwd()), plain(unit)) == {"status": "done"}
    assert solved[0] == 11  # the second row only
    rows = [json.loads(line) for line in (unit.folder(Path("part")) / "metrics.jsonl").read_text().splitlines()]
    assert [(row["instance"], row["seed"], row["cost"], row["feasible"]) for row in rows] == whole[unit.id]


def test_one_folder_has_one_writer(small: Path) -> None:
    """A run that another head has is asked for again, until it is done."""
    (unit, *_) = (found for found in _units(small) if found.label == "ldg")
    root = Path("out")
    (root / "locks").mkdir(parents=True)
    lock = FileLock(root / "locks" / unit.id)
    lock.acquire()
    assert perform(str(root.resolve()), str(Path.cwd()), plain(unit)) == {"status": BUSY}

    def releasing(task: Task, number: int) -> None:
        if task.id == unit.id and number == 2:
            lock.release()

    backend = Here(releasing)
    sweep(small, backend)
    assert backend.started.count(unit.id) == 2 and state(root, unit) == "done"


def _units(file: Path) -> list[Any]:
    from sysgym_zoo.sweeps.units import units_of

    return units_of(load_sweep(file).asks)


def test_a_run_whose_process_is_killed_is_tried_again(small: Path) -> None:
    backend = Here(lambda task, number: died() if number < 3 else None)
    root = sweep(small, backend)
    assert len(backend.started) == 18 and all(state(root, unit) == "done" for unit in load_units(root))


def test_after_three_kills_a_run_is_given_up_and_what_needs_it_too(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = _units(small)[0]
    assert victim.kind == "train"
    backend = Here(lambda task, number: died() if task.id == victim.id else None)
    with pytest.raises(Unfinished, match="2 of 6 runs failed"):
        sweep(small, backend)
    said = capsys.readouterr().err
    assert "given up after 3 tries: its process was killed." in said and f"training {victim.id} that it needs" in said
    assert backend.started.count(victim.id) == 3


def test_a_failure_is_told_in_its_own_sentence(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_text(small.read_text() + '[[evaluate]]\nagent = "metis"\noptions = { k = 4 }\ninstances = "my.graph"\n')
    Path("my.graph").write_text("2 1\n2\n1\n")

    def vanishing(task: Task, number: int) -> None:
        Path("my.graph").unlink(missing_ok=True)

    with pytest.raises(Unfinished, match="1 of 7 runs failed"):
        sweep(small, Here(vanishing))
    assert "my.graph" in capsys.readouterr().err
    (row,) = [row for row in status_rows(Path("out"), load_units(Path("out"))) if row["state"] != "done"]
    assert row["state"] == "failed" and "my.graph" in row["why"] and row["agent"] == "metis"


def test_a_full_disk_stops_the_sweep(small: Path) -> None:
    def full(task: Task, number: int) -> Mapping[str, Any]:
        return {"status": FULL, "error": "No space left on device."}

    with pytest.raises(sysgym.UsageError, match="Make room and run the same command again"):
        sweep(small, Here(full))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("I/O error: (os error 28)")])
def test_errors_of_the_disk_are_known(error: Exception, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(execute, "_carry_out", failing)
    outcome = perform(str(Path("out").resolve()), str(Path.cwd()), plain(_units(small)[0]))
    assert outcome["status"] == FULL and "error" in outcome


def test_what_can_never_be_placed_is_refused_before_anything_runs(small: Path) -> None:
    from sysgym_zoo.sweeps.backends import Local

    small.write_text(small.read_text().replace("steps = 4", "steps = 4\nthreads = 9"))
    with pytest.raises(sysgym.UsageError, match="9 threads, and there are 2"):
        run_sweep(load_sweep(small), Path("out"), lambda: Local(2))
    assert not list(Path("out").glob("runs/*"))


def test_a_damaged_record_is_written_anew_and_the_runs_are_found(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = sweep(small, Here())
    for damage in ("", "{", '{"schema": "sysgym-sweep/1", "units": [{"id": "../../x"}]}'):
        (root / "sweep.json").write_text(damage)
        with pytest.raises(sysgym.UsageError):
            load_units(root)
        again = Here()
        sweep(small, again)
        assert again.started == [] and len(load_units(root)) == 6
        assert (root / "sweep.json.damaged").read_text() == damage
        assert "the runs are found by their ids" in capsys.readouterr().err


def test_an_evaluation_with_rows_that_are_missing_or_twice_is_made_again(small: Path) -> None:
    root = sweep(small, Here())
    before = facts(root)
    one, two = (unit for unit in load_units(root) if unit.label in ("fm", "ldg"))
    for unit, change in ((one, lambda lines: lines[:1]), (two, lambda lines: [*lines, lines[0]])):
        file = unit.folder(root) / "metrics.jsonl"
        file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    assert state(root, one) == state(root, two) == "broken"
    sweep(small, Here())
    assert facts(root) == before


def test_a_model_that_was_trained_anew_is_evaluated_anew(small: Path) -> None:
    root = sweep(small, Here())
    trained = next(unit for unit in load_units(root) if unit.kind == "train")
    (evaluated,) = (unit for unit in load_units(root) if unit.needs == trained.id)
    record = json.loads((trained.folder(root) / "run.json").read_text())
    weights = trained.folder(root) / "agent" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    record["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (trained.folder(root) / "run.json").write_text(json.dumps(record))
    assert state(root, trained) == "done" and state(root, evaluated) == "broken"
    again = Here()
    sweep(small, again)
    assert again.started == [evaluated.id] and state(root, evaluated) == "done"


def test_what_changes_while_runs_wait_is_not_filed_under_the_old_id(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = Path("my.graph")
    small.write_text('[[evaluate]]\nagent = "fm"\noptions = { k = 2 }\ninstances = "my.graph"\n')
    graph.write_text("4 3\n2\n1 3\n2 4\n3\n")

    def changing(task: Task, number: int) -> None:
        graph.write_text("4 4\n2 4\n1 3\n2 4\n1 3\n")

    with pytest.raises(Unfinished, match="1 of 1 runs failed"):
        sweep(small, Here(changing))
    assert "its instances changed since the sweep began" in capsys.readouterr().err
    backend = Here()
    root = sweep(small, backend)  # with the file as it is now
    assert len(backend.started) == 1 and state(root, load_units(root)[0]) == "done"
    assert len(load_record(root)["former"]) == 1


def test_former_runs_stay_in_the_record(small: Path) -> None:
    texts = [
        f'[[evaluate]]\nagent = "{name}"\noptions = {{ k = 4 }}\ninstances = "tiny/valid"\n' for name in ("fm", "ldg")
    ]
    for text in (texts[0], texts[1], texts[1]):
        small.write_text(text)
        root = sweep(small, Here())
    assert [told["label"] for told in load_record(root)["former"]] == ["fm"]


def test_whom_to_compare_with_must_take_part(small: Path) -> None:
    small.write_text(small.read_text().replace('compare = "fm"', 'compare = "fmm"'))
    with pytest.raises(sysgym.UsageError, match=r"agent to compare with in .* 'fmm'. Did you mean 'fm'"):
        sweep(small, Here())
    assert not Path("out").exists()


def test_two_files_of_one_name_do_not_share_a_folder(small: Path) -> None:
    root = folder_of(small, None)
    run_sweep(load_sweep(small), root, lambda: Here())
    Path("other").mkdir()
    twin = Path("other") / small.name
    twin.write_text(small.read_text())
    with pytest.raises(sysgym.UsageError, match=r"is the sweep of .*small.toml; name another folder"):
        folder_of(twin, None)
    assert folder_of(small, None) == root


def test_a_training_from_a_model_that_is_killed_at_once_still_starts_from_it(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill before the first checkpoint: what goes on has the weights that it was given, not fresh ones."""
    from sysgym_zoo.jobs import train as training

    root = sweep(small, Here())
    model = next(unit for unit in load_units(root) if unit.kind == "train").folder(root)
    small.write_text(f'[[train]]\nagent = "{model}"\ninstances = "tiny/train"\nsteps = 3\nseed = 9\n')
    whole = facts(sweep(small, Here(), "whole"))
    real = training._fit

    def killed(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_fit", killed)
    (unit,) = load_units(Path("whole"))
    assert perform(str(Path("part").resolve()), str(Path.cwd()), plain(unit)) == {"status": "interrupted"}
    monkeypatch.setattr(training, "_fit", real)
    assert facts(sweep(small, Here(), "part")) == whole
    assert not (Path("part") / "broken").exists()


def test_an_ablation_that_goes_on_keeps_its_rows_and_their_solutions(tmp_path: Path) -> None:
    """One agent fails on its last instance; the one after it was killed within its rows."""
    from sysgym import make_problem
    from sysgym_agents.core import make_agent
    from sysgym_zoo.jobs.evaluate import How, evaluate
    from sysgym_zoo.lookup.naming import Solver

    class Fails:
        fell_back = False

        def prepare(self) -> None:
            """Nothing."""

        def solve(self, problem: Any, instance: Any, rng: Any, budget: Any) -> Any:
            if instance.name == last.name:
                raise sysgym.UsageError("it cannot.")
            return {"part": np.zeros(len(instance.xadj) - 1, np.int64)}

    problem = make_problem("Partitioning", k=4)
    instances = [problem.load(f"tiny/{name}-valid") for name in ("delaunay", "grid", "geometric")]
    last, solvers = instances[-1], [
        Solver("ldg", make_agent("ldg"), False), Solver("fails", Fails(), False), Solver("fm", make_agent("fm"), False),
    ]  # fmt: skip
    how = How(2, threads=1, out=tmp_path / "run", lenient=True, resume=True)
    folder, whole = evaluate(problem, solvers, instances, how)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(whole) == 12
    (folder / "metrics.jsonl").write_text("\n".join(lines[:8]) + "\n")  # two of fm's rows are left
    _, again = evaluate(problem, solvers, instances, how)
    kept = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    key = [(row["agent"], row["instance"], row["seed"], row["cost"]) for row in whole]
    assert [(row["agent"], row["instance"], row["seed"], row["cost"]) for row in again] == key
    assert sorted((row["agent"], row["instance"], row["seed"], row["cost"]) for row in kept) == sorted(key)
    for row in kept:
        with np.load(folder / row["solution"]) as solution:
            assert problem.judge(problem.load(row["instance"]), dict(solution)).cost == row["cost"]


def test_a_run_that_no_node_holds_any_more_does_not_wait_for_ever(small: Path) -> None:
    class Shrunk(Here):
        def room(self, threads: int) -> bool:
            return not self.started and super().room(threads)

        def refuse(self, threads: int) -> None:
            if self.started:
                raise sysgym.UsageError("the largest node of the cluster has 0 CPU(s).")

    with pytest.raises(sysgym.UsageError, match="largest node"):
        sweep(small, Shrunk())


def test_a_folder_of_something_else_is_left_alone(small: Path) -> None:
    Path("full").mkdir()
    (Path("full") / "letter.txt").write_text("dear")
    with pytest.raises(sysgym.UsageError, match="is no sweep's"):
        folder_of(small, Path("full"))
    with pytest.raises(sysgym.UsageError, match="is no folder of a sweep"):
        load_record(Path("full"))
    (Path("full") / "sweep.json").write_text('{"schema": "x", "units": [{"id": 3}]}')
    with pytest.raises(sysgym.UsageError, match="no record of a sweep"):
        load_units(Path("full"))
    assert folder_of(small, None) == Path("runs/small-sweep")


def test_times_in_words() -> None:
    assert [told(seconds) for seconds in (3, 99, 120, 7200)] == ["3 s", "99 s", "2 min", "2.0 h"]
