"""What a file of a sweep asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sysgym
from sysgym_zoo.sweeps.files import load_sweep, pairs

Wrote = Callable[[str], Path]


@pytest.fixture
def wrote(tmp_path: Path) -> Wrote:
    def write(text: str) -> Path:
        (tmp_path / "s.toml").write_text(text)
        return tmp_path / "s.toml"

    return write


def test_a_table_is_the_product_of_its_lists(wrote: Wrote) -> None:
    sweep = load_sweep(
        wrote("""
        compare = "fm"
        [[train]]
        agent = ["gap", "ppo-refine"]
        set = { hidden = [8, 16, 32], repair = true }
        options = { k = 4 }
        seeds = 2
        [[train.evaluate]]
        instances = ["a", "b"]
        [[evaluate]]
        agent = "fm"
        instances = "a"
        seeds = 7
    """)
    )
    trained = [ask for ask in sweep.asks if ask.kind == "train"]
    evaluated = [ask for ask in sweep.asks if ask.trained is not None]
    (classical,) = [ask for ask in sweep.asks if ask.kind == "evaluate" and ask.trained is None]
    assert len(trained) == 2 * 3 * 2 and len(evaluated) == 2 * len(trained) and sweep.compare == "fm"
    found = {(ask.words["agent"], ask.words["set"]["hidden"], ask.words["seed"]) for ask in trained}
    assert found == {(a, h, s) for a in ("gap", "ppo-refine") for h in (8, 16, 32) for s in (0, 1)}
    assert all(ask.words["set"]["repair"] is True and ask.words["options"] == {"k": 4} for ask in trained)
    assert {(id(ask.trained), ask.words["instances"]) for ask in evaluated} == {
        (id(ask), name) for ask in trained for name in "ab"
    }
    assert classical.words == {"agent": "fm", "instances": "a", "seeds": 7}


def test_seeds_may_be_named(wrote: Wrote) -> None:
    sweep = load_sweep(wrote('[[train]]\nagent = "gap"\nseed = [3, 9]\n'))
    assert [ask.words["seed"] for ask in sweep.asks] == [3, 9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "asks for no run"),
        ("[[trian]]\n", "Did you mean 'train'"),
        ("train = 3\n", "each begun by a line [[train]]"),
        ('[train]\nagent = "gap"\n', "each begun by a line [[train]]"),
        ('[[train]]\nagnet = "gap"\n', "Did you mean 'agent'"),
        ("[[train]]\nagent = 3\n", "agent must be a text, got 3"),
        ("[[train]]\nagent = []\n", "at least one, got []"),
        ('[[train]]\nagent = [["gap"]]\n', "or a list of at least one"),
        ('[[train]]\nagent = ["gap", "gap"]\n', "names a value twice"),
        ('[[train]]\nagent = "gap"\nsteps = 1.5\n', "steps must be a whole number from 1 to 1000000000, got 1.5"),
        ('[[train]]\nagent = "gap"\nsteps = true\n', "steps must be a whole number from 1 to 1000000000, got True"),
        ('[[train]]\nagent = "gap"\nseconds = -1\n', "seconds must be a finite number above 0, got -1"),
        ('[[train]]\nagent = "gap"\nseeds = 2\nseed = 1\n', "not both"),
        ('[[train]]\nagent = "gap"\nset = 3\n', "set must be a table"),
        ("[[evaluate]]\nset = { a = 1 }\n", "set needs an agent"),
        ('[[train]]\nagent = "gap"\n[[train.evaluate]]\nagent = "fm"\n', "unknown key"),
        ('[[train]]\nagent = "gap"\n[[train.evaluate]]\nmodel = "bets"\n', "Did you mean 'best'"),
        ('[[train]]\nagent = "gap"\n[[train.evaluate]]\nmodel = "best"\n', "needs eval_instances and eval_every"),
        ('[[evaluate]]\nagent = "fm"\nablate = 1\n', "ablate must be true or false"),
        ('[[train]]\nagent = "gap"\nset = { hidden = 1979-05-27 }\n', "set.hidden must be a number, text"),
        ('[[train]]\nagent = "gap"\nseconds = inf\n', "finite number above 0"),
        ('[[train]]\nagent = "gap"\nseconds = nan\n', "finite number above 0"),
        ('[[train]]\nagent = "gap"\nseed = 36893488147419103232\n', "seed must be a whole number from 0 to"),
        ('[[evaluate]]\nagent = "fm"\nseeds = 10000000000\n', "seeds must be a whole number from 1 to 1000000000"),
        ('[[train]]\nagent = "gap"\nseeds = 900000000\n', "asks for 900000000 runs, at most 100000"),
        (
            "[[evaluate]]\nset = { "
            + ", ".join(f"{c} = [0,1,2,3,4,5,6,7,8,9]" for c in "abcdefghi")
            + " }\nagent = 'x'\n",
            "at most 100000",
        ),
        ("compare = 3\n[[evaluate]]\n", "compare must be the name"),
        ("a = [\n", "Invalid"),
        ('[[train]]\nagent = "gap"\nseeds = 200000\n', "at most 100000"),
    ],
)
def test_one_sentence_says_what_is_wrong(text: str, said: str, wrote: Wrote) -> None:
    with pytest.raises(sysgym.UsageError) as caught:
        load_sweep(wrote(text))
    assert said in str(caught.value) and "s.toml" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(sysgym.UsageError, match="No such file"):
        load_sweep(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(sysgym.UsageError, match="cannot be read"):
        load_sweep(tmp_path / "b.toml")


def test_pairs_are_read_again_as_they_were() -> None:
    from sysgym.core.options import parse_pairs
    from sysgym_agents.core import agent_class

    said = {"hidden": 8, "learning_rate": 1e-05, "repair": False}
    assert parse_pairs(pairs(said), agent_class("gap"), "gap") == said
