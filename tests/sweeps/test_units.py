"""A run's id is the hash of what defines it, and of nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sysgym
from sysgym_agents.core import agent_registry
from sysgym_zoo.sweeps.files import load_sweep
from sysgym_zoo.sweeps.units import Unit, units_of

BASE = """\
[[train]]
agent = "gap"
instances = "tiny/train"
steps = 4
options = { k = 4 }
set = { hidden = 8 }
seed = 0
"""


def units(text: str, tmp_path: Path) -> list[Unit]:
    (tmp_path / "s.toml").write_text(text)
    return units_of(load_sweep(tmp_path / "s.toml").asks)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seed = 0\n", ""),  # a default that is said
        ("seed = 0\n", "seeds = 1\n"),
        ('agent = "gap"\n', 'agent = "gap"\nproblem = "Partitioning"\n'),
        ("hidden = 8 }", "repair = true, hidden = 8 }"),
        ("k = 4", 'k = "4"'),
        ('"tiny/train"', '"tiny/delaunay-train;tiny/grid-train;tiny/geometric-train;tiny/stochastic_block-train"'),
        ("seed = 0\n", "seed = 0\nthreads = 1\n"),
    ],
)
def test_the_same_run_said_otherwise_has_the_same_id(one: str, other: str, tmp_path: Path) -> None:
    assert one in BASE
    assert units(BASE, tmp_path)[0].id == units(BASE.replace(one, other), tmp_path)[0].id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seed = 0", "seed = 1"), ("steps = 4", "steps = 5"), ("k = 4", "k = 3"), ("hidden = 8", "hidden = 9"),
        ("tiny/train", "tiny/grid-train"), ("seed = 0\n", "threads = 2\n"), ("steps = 4", "cpu_seconds = 4"),
        ("seed = 0\n", 'eval_instances = "tiny/valid"\neval_every = 2\n'),
    ],
)  # fmt: skip
def test_another_run_has_another_id(one: str, other: str, tmp_path: Path) -> None:
    assert one in BASE
    assert units(BASE, tmp_path)[0].id != units(BASE.replace(one, other), tmp_path)[0].id


def test_a_file_that_changes_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sysgym.graphs.generate import generate_graph
    from sysgym.graphs.io import format_metis

    monkeypatch.chdir(tmp_path)
    ids = []
    for seed in (1, 1, 2):
        (tmp_path / "my.graph").write_text(format_metis(generate_graph(f"delaunay:n=30,seed={seed}")))
        ids.append([unit.id for unit in units('[[evaluate]]\nagent = "fm"\ninstances = "my.graph"\n', tmp_path)])
        (tmp_path / "s.toml").unlink()
    assert ids[0] == ids[1] != ids[2]


def test_a_class_that_changes_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, ids = '[[evaluate]]\nagent = "mine:Mine"\nproblem = "Partitioning"\ninstances = "tiny/valid"\n', []
    for rule in ("ldg", "ldg", "fennel"):
        code = f"from sysgym_agents.core import agent_class\nclass Mine(agent_class({rule!r})):\n    pass\n"
        (tmp_path / "mine.py").write_text(code)
        sys.modules.pop("mine", None)  # as in a process of its own
        monkeypatch.setattr(agent_registry, "local", {})
        ids.append([unit.id for unit in units(text, tmp_path)])
    assert ids[0] == ids[1] != ids[2]


def test_what_is_asked_for_twice_runs_once(tmp_path: Path) -> None:
    assert len(units(BASE + BASE, tmp_path)) == 1
    found = units(BASE + '[[train.evaluate]]\ninstances = "tiny/valid"\n' + BASE, tmp_path)
    assert [unit.kind for unit in found] == ["train", "evaluate"] and found[1].needs == found[0].id


def test_labels_say_what_differs_but_not_the_seed(small: Path, tmp_path: Path) -> None:
    assert [unit.label for unit in units_of(load_sweep(small).asks)] == ["gap", "gap", "gap", "gap", "fm", "ldg"]
    found = units(BASE.replace("hidden = 8", "hidden = [8, 16]").replace("seed = 0", "seeds = 2"), tmp_path)
    assert [unit.label for unit in found] == ["gap hidden=8"] * 2 + ["gap hidden=16"] * 2


def test_what_is_not_the_same_is_never_in_one_line(tmp_path: Path) -> None:
    """Two tables of one agent with other steps, an agent with another budget, one evaluated best and last."""
    inner = '[[train.evaluate]]\ninstances = "tiny/valid"\noptions = { k = 4 }\n'
    one, two = BASE + inner, BASE.replace("steps = 4", "steps = 6").replace("k = 4", "k = 2") + inner
    fm = '[[evaluate]]\nagent = "fm"\noptions = { k = 4 }\ninstances = "tiny/valid"\n'
    found = units(one + two + fm + fm + "seconds = 1\n" + fm + "seconds = 1\nseeds = 3\n", tmp_path)
    lines = [unit for unit in found if unit.kind == "evaluate"]
    assert len({unit.place for unit in lines}) == 1 and len({unit.label for unit in lines}) == len(lines) == 5
    assert [unit.label for unit in lines] == [
        "gap train.steps=4 train.k=4", "gap train.steps=6 train.k=2", "fm", "fm seconds=1",
        "fm seconds=1 seeds=3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE.replace('"gap"', '"gpa"'), "unknown agent 'gpa'. Did you mean"),
        (BASE.replace('"gap"', '"fm"').replace("set = { hidden = 8 }", ""), "does not learn"),
        (BASE.replace("hidden = 8", "hidden = 0"), "hidden of agent 'gap' must be"),
        (BASE.replace("hidden = 8", "hiden = 8"), "Did you mean 'hidden'"),
        (BASE.replace("tiny/train", "tiny/trian"), "tiny/trian"),
        (BASE + 'problem = "Clustering"\n', "not Clustering"),
        ('[[evaluate]]\ninstances = "tiny/valid"\n', "needs an agent"),
        ('[[evaluate]]\nagent = "ppo-refine"\ninstances = "tiny/valid"\n', "knows nothing before it is trained"),
        (BASE + 'eval_instances = "tiny/test"\neval_every = 2\n', "in the test split"),
    ],
)
def test_what_can_never_run_is_refused_before_anything_does(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(sysgym.UsageError, match=said):
        units(text, tmp_path)
