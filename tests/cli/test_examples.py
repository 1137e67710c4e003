"""The scripts of `sysgym_zoo.examples` run; each is found by its place."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import sysgym_zoo.bench
import sysgym_zoo.embed
import sysgym_zoo.examples
from sysgym_zoo.embed.__main__ import main, names
from sysgym_zoo.lookup.benchmarks import areas, load_area


def test_every_example_is_known_here() -> None:
    found = {item.name for item in pkgutil.iter_modules(sysgym_zoo.examples.__path__)}
    assert found == {"demo", "own_sb3"}  # the first has a slow test beside the other commands


def test_a_script_with_stable_baselines3(capsys: pytest.CaptureFixture[str]) -> None:
    import_module("sysgym_zoo.examples.own_sb3").main(["--steps", "512"])
    word, cut, other, reference = capsys.readouterr().out.replace(",", "").split()
    assert (word, other) == ("cut", "METIS") and 0 < float(cut) < 3 * float(reference)


def test_every_benchmark_is_an_area() -> None:
    files = {path.stem for path in Path(sysgym_zoo.bench.__path__[0]).glob("*.py")} - {"__init__"}
    assert files >= {"partitioning", "learning", "rollouts", "chip", "placing", "dataflow", "devices"}
    assert set(areas()) >= files
    for name in files:
        assert callable(load_area(name).rows) and load_area(name).__doc__, name


def test_every_embedding_has_a_main(capsys: pytest.CaptureFixture[str]) -> None:
    files = {path.stem for path in Path(sysgym_zoo.embed.__path__[0]).glob("*.py")} - {"__init__", "__main__"}
    assert set(names()) == files >= {"partitioning", "chip", "dataflow"}
    for name in names():
        assert callable(import_module(f"sysgym_zoo.embed.{name}").main), name
    assert main([]) == 2 and "there are chip, dataflow" in capsys.readouterr().err
    assert main(["partitionng"]) == 2 and "Did you mean 'partitioning'" in capsys.readouterr().err
