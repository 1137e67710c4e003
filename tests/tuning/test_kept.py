"""`sysgym tune` goes on with the study that it was begun as: storages, recipes, files, devices, an earlier winner."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tuning_cases import WORDS, Dial, records, tuned

from sysgym import UsageError
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.tuning.files import FIRST_SEED, report_folder
from sysgym_zoo.tuning.tune import Asked, tune
from sysgym_zoo.tuning.winner import report
from sysgym_zoo.tuning.worker import Changed, trained

Inline = Callable[..., Any]


def test_a_storage_that_is_not_of_the_study_is_refused(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a database counts from where the study was begun, and nothing is made where it is missing."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tuned(Path("s"), trials=2, storage="sqlite:///x.db")
    facts, before = json.loads(Path("s/study.json").read_text()), records(Path("s"))
    assert facts["storage"] == f"sqlite:///{tmp_path / 'here' / 'x.db'}"
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UsageError, match=r"with storage sqlite:.*here/x.db, not sqlite:.*there/x.db"):
        tuned(Path("../here/s"), trials=4, storage="sqlite:///x.db")
    assert len(tuned(Path("../here/s"), trials=3, storage="sqlite:///../here/x.db").finished()) == 3
    (tmp_path / "here" / "s" / "study.json").write_text(json.dumps({**facts, "storage": "sqlite:///x.db"}))  # older
    with pytest.raises(UsageError, match="does not know the trials whose trainings are in"):
        tuned(Path("../here/s"), trials=4, storage="sqlite:///x.db")
    assert not Path("x.db").exists()
    monkeypatch.chdir(tmp_path / "here")
    assert len(tuned(Path("s"), trials=4, storage="sqlite:///x.db").finished()) == 4
    assert before.items() <= records(Path("s")).items()
    tuned(Path("t"), trials=1)
    Path("t/journal.log").unlink()
    for _ in range(2):
        with pytest.raises(UsageError, match=r"t/journal.log does not know"):
            tuned(Path("t"), trials=2)
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x.db?uri=true"):
        with pytest.raises(UsageError, match="names no file"):
            tuned(Path("u"), storage=url)


def test_a_trial_is_never_told_the_value_of_another_training(
    plugin: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A storage that went back in time: what it no longer knows is kept aside, and not taken for its new trials."""
    how = {"word": "dial", "space": ["sigma=0.01:3:log"], "changes": ["population=4"], "pruner": "none"}
    tuned(tmp_path / "s", **how, trials=2)
    earlier = (tmp_path / "s" / "journal.log").read_bytes()
    tuned(tmp_path / "s", **how, trials=4)
    before = records(tmp_path / "s")
    (tmp_path / "s" / "journal.log").write_bytes(earlier)
    with pytest.raises(UsageError, match="with seed 0, not 1"):
        tuned(tmp_path / "s", **how, trials=4, seed=1)
    facts = json.loads((tmp_path / "s" / "study.json").read_text())
    (tmp_path / "s" / "study.json").write_text(json.dumps({**facts, "seed": 1}))  # so that others are drawn
    study = tuned(tmp_path / "s", **how, trials=4, seed=1)
    made = records(tmp_path / "s")
    for trial in study.finished():
        runs = [made[f"{trial.number:04d}-s{FIRST_SEED + i}"] for i in (0, 1)]
        assert [run["agent"]["hyper"]["sigma"] for run in runs] == [trial.params["sigma"]] * 2
        assert trial.value == pytest.approx(np.sqrt(runs[0]["best"]["ratio"] * runs[1]["best"]["ratio"]))
    for number in (2, 3):
        for seed in (FIRST_SEED, FIRST_SEED + 1):
            assert made[f"{number:04d}-s{seed}.other-1"] == before[f"{number:04d}-s{seed}"]
    said = capsys.readouterr().err
    assert said.count("holds another training (sigma ") == 4 and "it is kept as 0003-s10001.other-1." in said


MINE = 'agent = "dial"\nproblem = "Knapsack"\n[options]\nfill = 0.4\n[hyper]\nsigma = 0.3\npopulation = 4\nspare = 3\n'


def test_a_study_does_not_go_on_with_an_edited_recipe(
    plugin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it goes on, and while it runs: then no trial is told a value of it, and the study goes on afterwards."""
    monkeypatch.chdir(tmp_path)
    mine, how = tmp_path / "mine.toml", {"word": "mine.toml", "space": ["sigma=0.01:3:log"], "pruner": "none"}
    mine.write_text(MINE)
    tuned(Path("s"), **how, trials=2)
    for line, edited, sentence in (
        ("fill = 0.4", "fill = 0.5", "with option fill 0.4, not 0.5"),
        ("population = 4", "population = 2", "with shipped population 4, not 2"),
        ("spare = 3", "spare = 2", "with hyper spare 3, not 2"),
    ):
        mine.write_text(MINE.replace(line, edited))
        with pytest.raises(UsageError, match=sentence):
            tuned(Path("s"), **how, trials=4)
    mine.write_text(MINE)
    fit = Dial.fit

    def edits(self: Dial, *rest: Any) -> None:
        fit(self, *rest)
        mine.write_text(MINE.replace("fill = 0.4", "fill = 0.9"))

    with monkeypatch.context() as editing, pytest.raises(UsageError, match=r"option fill 0\.9, not 0\.4: what mine"):
        editing.setattr(Dial, "fit", edits)
        tuned(Path("s"), **how, trials=4)
    mine.write_text(MINE)
    study = tuned(Path("s"), **how, trials=4)
    assert [trial.state.name for trial in study.finished()] == ["COMPLETE"] * 4
    made = {name: run for name, run in records(Path("s")).items() if "other" not in name}
    assert len(made) == 8 and {run["problem"]["options"]["fill"] for run in made.values()} == {0.4}
    assert {run["problem"]["options"]["fill"] for name, run in records(Path("s")).items() if name not in made} == {0.9}


def test_a_study_does_not_go_on_with_another_file_of_an_option(tmp_path: Path, inline: Inline) -> None:
    pytest.importorskip("optuna")
    cluster = {"devices": [{"kind": "gpu", "speed": 1.0, "capacity": 16e9}, {"kind": "gpu", "speed": 0.5}],
               "bandwidth": [[0, 12], [12, 0]], "latency_ns": 10000, "link_mode": "pair"}  # fmt: skip
    (tmp_path / "cluster.json").write_text(json.dumps(cluster))
    asked = Asked(
        word="gdp", problem="DevicePlacement", options=["devices=cluster.json"], trials=1, seeds=1, steps=4, every=2,
        instances="layered:depth=3,width=3,seed=1", valid="layered:depth=3,width=3,seed=2",
        changes=["hidden=8", "heads=2", "samples=4"],
    )  # fmt: skip
    study = tune(asked, tmp_path / "s")
    (tmp_path / "cluster.json").write_text(json.dumps({**cluster, "latency_ns": 1}))
    with pytest.raises(UsageError, match="with the file of option devices "):
        tune(replace(asked, trials=2), tmp_path / "s")
    with pytest.raises(Changed, match=r"cluster.json \(devices\) has changed since the study began"):
        trained(study.facts, study.best().params, 0, report_folder(study.folder, 0, 0))


def test_the_device_is_that_of_every_training(
    plugin: None, inline: Inline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept in the study, asked for in trials and report, and refused where it is not here."""
    from sysgym_agents.learning import devices

    inline(*WORDS, "--device", "cpu", "--report", "small/test")
    runs = [load_run(path.parent) for path in (tmp_path / "s").rglob("run.json")]
    assert {run["device"]["asked"] for run in runs} == {"cpu"} and {run["seed"] for run in runs} >= {0, 1, FIRST_SEED}
    assert "with device cpu, not auto" in inline(*WORDS, code=2).stderr
    assert "unknown device" in inline(*WORDS, "--device", "gpu", code=2).stderr
    study = tuned(tmp_path / "t", trials=1)  # an older one does not say it
    facts = json.loads((tmp_path / "t" / "study.json").read_text())
    del facts["device"]
    (tmp_path / "t" / "study.json").write_text(json.dumps(facts))
    assert tuned(tmp_path / "t", trials=2).facts["device"] == "auto"
    monkeypatch.setattr(devices, "accelerator", lambda: None)
    words = [word if word != "s" else "u" for word in WORDS]
    assert "use --device cpu or auto" in inline(*words, "--device", "cuda", code=2).stderr
    assert not (tmp_path / "u").exists()
    (out,) = (tmp_path / "t" / "trials").glob(f"0000-s{FIRST_SEED}")
    record = json.loads((out / "run.json").read_text())
    begun = {**record, "status": "running", "device": {**record["device"], "device": "cuda"}}
    (out / "run.json").write_text(json.dumps(begun))  # killed on another machine
    assert trained(study.facts, study.best().params, FIRST_SEED, out)["status"] == "done"
    assert load_run(out.with_name(f"{out.name}.other-1"))["device"]["device"] == "cuda"


def test_help_says_where_queues_are_told_of(inline: Inline) -> None:
    """Brackets would be taken for markup, and lost."""
    from typer.main import get_command

    from sysgym_zoo.cli import app

    group: Any = get_command(app)
    said = {option.name: getattr(option, "help", "") or "" for option in group.commands["tune"].params}
    assert "slurm of a sweep" in said["slurm"] and not [text for text in said.values() if "[" in text]


def test_a_report_that_was_killed_serves_no_later_winner(plugin: None, tmp_path: Path) -> None:
    """Models of an earlier winner are not those of the one that is reported, and a strange one is kept aside."""
    how = {"word": "dial", "space": ["sigma=0.01:3:log"], "changes": ["population=4"], "pruner": "none"}
    study = tuned(tmp_path / "s", **how, trials=1)
    trained(study.facts, study.best().params, 0, report_folder(study.folder, 0, 0))  # and then it was killed
    study = tuned(tmp_path / "s", **how, trials=12)
    best = study.best()
    assert best.number > 0
    shutil.copytree(report_folder(study.folder, 0, 0), report_folder(study.folder, best.number, 1))  # by some mishap
    report(study, "small/test")
    for seed in (0, 1):
        run = load_run(report_folder(study.folder, best.number, seed))
        assert (run["seed"], run["agent"]["hyper"]["sigma"]) == (seed, best.params["sigma"])
    kept = report_folder(study.folder, best.number, 1).with_name("s1.other-1")
    assert load_run(kept) == load_run(report_folder(study.folder, 0, 0))
