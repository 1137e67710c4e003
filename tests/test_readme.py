"""The README's blocks run as they stand."""

from __future__ import annotations

import gzip
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def test_python_blocks() -> None:
    found = blocks("python")
    assert found
    for block in found:
        done = subprocess.run([sys.executable, "-W", "error", "-c", block], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "action_mask" in done.stdout


def test_console_blocks_in_order(sysgym: Callable[..., Any], tmp_path: Path) -> None:
    """Every command, with a second of training instead of a minute and one seed fewer where only time is saved."""
    from sysgym.graphs.generate import generate_graph
    from sysgym.graphs.io import format_metis

    (tmp_path / "my.graph").write_text(format_metis(generate_graph("delaunay:n=200,seed=9")))
    (tmp_path / "my").mkdir()
    packaged = Path(str(files("sysgym") / "data" / "chip" / "designs" / "mempool_tile_NanGate45.plc"))
    (tmp_path / "my" / "netlist.pb.txt").write_bytes(gzip.decompress(packaged.with_suffix(".pb.txt.gz").read_bytes()))
    (tmp_path / "my" / "initial.plc").write_bytes(packaged.read_bytes())
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 10
    for command in commands:
        words = shlex.split(command.replace("--seconds 60", "--seconds 2"))
        if "metis" in words:
            pytest.importorskip("pymetis")
            words += ["--seeds", "1"]
        assert words[0] == "sysgym"
        sysgym(*words[1:])
    assert (tmp_path / "my.png").is_file() and (tmp_path / "chip.png").is_file()
    assert (tmp_path / "site" / "index.html").is_file()


def test_every_agent_and_mode_named_here_exists() -> None:
    from sysgym.core.registry import problem_registry
    from sysgym_agents import agent_names

    for name in agent_names():
        assert f"`{name}`" in README, name
    for name in problem_registry.entries():  # without those that other tests register
        assert f"`sysgym/{name}`" in README, name


def test_result_table_comes_from_a_command() -> None:
    table = README.split("<!-- sysgym report: results -->")[1].split("<!-- end -->")[0]
    assert "| agent | cost | ratio |" in table and "Partitioning-v0 (k=4, eps=0.03) on" in table
