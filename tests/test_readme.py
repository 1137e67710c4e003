"""Every page's blocks run as they stand, every name in them exists, and references are what the code says."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import Any

import lefdef
import pytest

from sysgym.core.errors import Notice

ROOT = Path(__file__).parents[1]
FIRST = ROOT / "README.md"
PAGES = [FIRST, *sorted((ROOT / "envs").rglob("README.md"))]
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in PAGES}
ZOO = ROOT / "zoo" / "README.md"
LONGEST = 200  # lines of the first page
SMALLER = {  # of the page of the zoo, whose studies take a quarter of an hour
    "--trials 30": "--trials 2", "--seeds 2": "--seeds 1", "--cpu-seconds 30": "--steps 32",
    "--eval-every 8192": "--eval-every 16",
    "--recipe runs/refine/recipe.toml": "--recipe runs/refine/recipe.toml --steps 32",
    "--steps 20000": "--steps 32",
}  # fmt: skip


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def commands(block: str) -> list[str]:
    """The commands of a block in order, each once."""
    return list(dict.fromkeys(line[2:] for line in block.splitlines()))


def test_there_is_a_page_for_every_problem_and_a_short_first_one() -> None:
    from sysgym_zoo.lookup.reference import pages

    assert set(PAGES[1:]) == set(pages().values()) and len(PAGES) == len(pages()) + 1
    assert len(TEXTS["README.md"].splitlines()) <= LONGEST
    assert re.search(r"<!-- demo -->\n```bash\n", TEXTS["README.md"])
    assert re.search(r"<!-- test -->\n```bash\n", TEXTS["README.md"])


PYTHON = blocks("python", TEXTS["README.md"])


@pytest.mark.parametrize("block", PYTHON, ids=[f"README.md-{i}" for i in range(len(PYTHON))])
def test_python_blocks(block: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(block)
    words = [sys.executable, "-W", "error", "block.py"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "action_mask" in done.stdout


CONSOLE = [(page, block) for page, text in TEXTS.items() for block in blocks("console", text)]
THEN = {
    page: blocks("python", text) for page, text in TEXTS.items() if page != "README.md"
}  # with files of the commands
MADE = (
    "mine.part",
    "site/index.html",
    "mine.json",
    "chip.png",
    "place.tcl",
    "placed.def",
    "moons.png",
    "gantt.png",
    "joint.json",
    "nmt.png",
    "names.png",
    "my.png",
    "model.part",
    "halves.part",
    "talk.png",
)  # by each block


@pytest.mark.parametrize(
    ("page", "block", "made"), [(*each, made) for each, made in zip(CONSOLE, MADE, strict=True)], ids=MADE
)
def test_console_blocks_in_order(
    page: str, block: str, made: str, sysgym: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command, with part of a second of work instead of a minute and one seed where only time is saved, then the
    Python of a problem's page, which goes on from there.
    """
    from sysgym.graphs.generate import generate_graph
    from sysgym.graphs.hmetis import format_hmetis
    from sysgym.graphs.io import format_metis
    from sysgym.graphs.netlists import generate_hypergraph

    (tmp_path / "my.hgr").write_text(format_hmetis(generate_hypergraph("netlist:n=200,seed=9")))
    (tmp_path / "my.fix").write_text("7 0\n11 1\n191 1\n")
    (tmp_path / "my.graph").write_text(format_metis(generate_graph("delaunay:n=200,seed=9")))
    (tmp_path / "my").mkdir()
    packaged = Path(str(files("sysgym") / "data" / "chip" / "designs" / "mempool_tile_NanGate45.plc"))
    (tmp_path / "my" / "netlist.pb.txt").write_bytes(gzip.decompress(packaged.with_suffix(".pb.txt.gz").read_bytes()))
    (tmp_path / "my" / "initial.plc").write_bytes(packaged.read_bytes())
    for file, content in lefdef.FILES.items():
        (tmp_path / file).write_text(content)
    assert len(commands(block)) >= 3
    for command in commands(block):
        words = shlex.split(
            command.replace("--seconds 60", "--seconds 0.2")
            .replace("--cpu-seconds 0.2", "--steps 1")
            .replace("--cpu-seconds 1", "--steps 1")
        )
        if "metis" in words:
            pytest.importorskip("pymetis")
        if words[1] == "group":
            pytest.importorskip("mtkahypar")
            words += ["--free-groups", "2"]
        if "metis" in words or "--ablate" in words:
            words += ["--seeds", "1"]
        assert words[0] == "sysgym", command
        sysgym(*words[1:])
    assert (tmp_path / made).is_file()
    for code in THEN.get(page, ()):
        monkeypatch.chdir(tmp_path)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()) as shown:
            warnings.simplefilter("ignore", Notice)
            exec(code, {})
        assert shown.getvalue()


ZOO_BLOCKS = blocks("console", ZOO.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("block", ZOO_BLOCKS, ids=[commands(block)[0].split()[1] for block in ZOO_BLOCKS])
def test_the_page_of_the_zoo(block: str, sysgym: Callable[..., Any], tmp_path: Path) -> None:
    """Every command, with less to do where only time is saved, beside the file of a sweep that the page shows."""
    (file,) = (text for text in blocks("toml", ZOO.read_text()) if text.startswith("# seeds.toml"))
    (tmp_path / "seeds.toml").write_text(file)
    for command in commands(block):
        for name in re.findall(r"--track (\w+)", command):
            pytest.importorskip(name)
        for long, short in SMALLER.items():
            command = command.replace(long, short)
        words = shlex.split(command)
        assert words[0] == "sysgym", command
        done = sysgym(*words[1:])
        assert done.stdout
    if "seeds.toml" in block:
        assert "| fm | 1 |" in done.stdout and "| gap hidden=16 | 3 |" in done.stdout


def test_every_agent_and_environment_is_named_somewhere() -> None:
    from sysgym.core.registry import problem_registry
    from sysgym_agents.core import agent_registry
    from sysgym_zoo.lookup.recipes import recipe_names

    text = "\n".join(TEXTS.values())
    for name in [*agent_registry.entries(), *recipe_names()]:
        assert f"`{name}`" in text or re.search(rf"--(agent|recipe) {name}\b", text), name
    for name in problem_registry.entries():  # without those that other tests register
        assert f"`sysgym/{name}`" in TEXTS["README.md"], name


def test_links_of_the_zoo() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", ZOO.read_text()):
        assert (ZOO.parent / target).is_file(), target
    assert "zoo/README.md" in TEXTS["README.md"]


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_markers(page: str) -> None:
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]):
        assert target.startswith("http") or (folder / target).is_file(), target
    assert TEXTS[page].count("<!-- sysgym report:") == TEXTS[page].count("<!-- end -->")
    for name, table in re.findall(r"<!-- sysgym report: (\w+) -->\n(.*?)<!-- end -->", TEXTS[page], re.S):
        assert name == "reference" or re.search(r"\| agent (\| freedom )?\| cost \| ratio \|", table)
    if page != "README.md":
        assert "## Results" in TEXTS[page] and "<!-- sysgym report: reference -->" in TEXTS[page]


def test_references_are_what_the_code_says() -> None:
    from sysgym_zoo.lookup.reference import pages, reference

    for name, page in pages().items():
        written = page.read_text().split("<!-- sysgym report: reference -->\n")[1].split("\n<!-- end -->")[0]
        assert written == reference(name), f"{page} is not up to date: python -m sysgym_zoo.embed.readmes"
