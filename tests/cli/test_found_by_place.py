"""Benchmarks and embeddings are found by their place."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import sysgym_zoo.bench
import sysgym_zoo.embed
from sysgym_zoo.embed.__main__ import main, names
from sysgym_zoo.lookup.benchmarks import areas, load_area


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
    assert main([]) == 2 and "there are accelerator, " in capsys.readouterr().err
    assert main(["partitionng"]) == 2 and "Did you mean 'partitioning'" in capsys.readouterr().err
