"""What a user gets wrong: one clear sentence, the documented exit code, and the name that was meant."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sysgym import UsageError
from sysgym.core.env import ProblemEnv

Inline = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = "partitioning-tiny-k2-v1"
CANVAS = "--width 9 --height 9 --columns 3"
RUBBISH = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training, two evaluations and a submission."""
    from sysgym_zoo.cli import app

    folder, here = tmp_path_factory.mktemp("recorded"), Path.cwd()
    small = "--steps 64 --set n_steps=8 --set num_envs=2 --set hidden=8 --instances tiny/train"
    os.chdir(folder)
    try:
        for line in (
            f"train -a ppo-refine {small} --out trained",
            "evaluate -a ldg --instances tiny/test --seeds 1 --out one",
            "evaluate -a ldg -a random --instances tiny/test --seeds 1 --out two",
            f"pack one --board {TINY} -o good.zip",
        ):
            done = CliRunner().invoke(app, shlex.split(line))
            assert done.exit_code == 0, done.stderr
    finally:
        os.chdir(here)
    return folder


@pytest.fixture(scope="module")
def mistaken(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those runs, and files with every kind of mistake."""
    tmp_path = tmp_path_factory.mktemp("mistaken")
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    for ending in ("graph", "mtx", "txt", "json", "npz", "npy", "part", "toml", "zip", "md"):
        (tmp_path / f"empty.{ending}").write_text("")
        (tmp_path / f"bytes.{ending}").write_bytes(RUBBISH)
        (tmp_path / f"folder.{ending}").mkdir()
    (tmp_path / "damaged.graph.gz").write_bytes(b"\x1f\x8b rubbish")
    (tmp_path / "text.part").write_text("hello\n")
    (tmp_path / "text.graph").write_text("hello\n")
    (tmp_path / "path.txt").write_text("0 1\n1 2\n")
    (tmp_path / "nan.json").write_text('{"part": [0, NaN, 1]}')
    (tmp_path / "named.json").write_text('{"parts": [0, 1, 1]}')
    (tmp_path / "good.json").write_text('{"part": [0, 1, 0]}')
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    (tmp_path / "text.pb.txt").write_text("hello\n")
    for kind in ("macro", "stdcell"):
        (tmp_path / f"{kind}.pb.txt").write_text(NODE.format(kind))
    (tmp_path / "folder.pb.txt").mkdir()
    (tmp_path / "two.groups").write_text("0\n0\n")
    (tmp_path / "good.groups").write_text("0\n")
    (tmp_path / "minus.groups").write_text("-1\n")
    (tmp_path / "one.md").write_text("<!-- sysgym report: results -->\n<!-- end -->\n")
    (tmp_path / "open.md").write_text("<!-- sysgym report: results -->\n")
    for name, text in RECIPES.items():
        (tmp_path / f"{name}.toml").write_text(text)
    for name, change in BROKEN_RUNS.items():
        shutil.copytree(tmp_path / ("one" if name.startswith("rows") else "trained"), tmp_path / name)
        change(tmp_path / name)
    return tmp_path


@pytest.fixture
def files(mistaken: Path, tmp_path: Path, line: str) -> Path:
    """A copy of those that a command line names."""
    for path in mistaken.iterdir():
        if path.name in line:
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, tmp_path / path.name)
    return tmp_path


NODE = 'node {{\n  name: "A"\n  attr {{\n    key: "type"\n    value {{\n      placeholder: "{}"\n    }}\n  }}\n}}\n'
RECIPES = {
    "syntax": "agent = ",
    "key": 'agnet = "ppo"',
    "kind": "hyper = 3",
    "spent": "[budget]\nseconds = -3",
    "half": "[budget]\nsteps = 2.5",
    "budget": "[budget]\nsecnds = 3",
    "hyper": "[hyper]\nhiden = 3",
    "value": '[hyper]\nhidden = "x"',
    "option": '[options]\nk = "two"',
    "other": 'problem = "Partitoin"',
}
BROKEN_RUNS: dict[str, Callable[[Path], Any]] = {
    "listed": lambda run: (run / "run.json").write_text("[]"),
    "bare": lambda run: (run / "run.json").write_text('{"kind": "train", "problem": 3, "status": "done"}'),
    "cut": lambda run: (run / "run.json").write_text("{"),
    "unnamed": lambda run: (run / "run.json").unlink(),
    "agentless": lambda run: shutil.rmtree(run / "agent"),
    "unfit": lambda run: (run / "agent" / "agent.json").write_text("[]"),
    "weightless": lambda run: (run / "agent" / "model.safetensors").write_bytes(b"rubbish"),
    "elsewhere": lambda run: edit(run, "problem", {"name": "Clustering", "version": 0, "options": {}}),
    "changed": lambda run: edit(run, "instances", [{"name": "tiny/grid-train", "hash": "0" * 64}]),
    "rows-cut": lambda run: (run / "metrics.jsonl").write_text("{"),
    "rows-wrong": lambda run: (run / "metrics.jsonl").write_text("[1]\n"),
    "rows-none": lambda run: (run / "metrics.jsonl").write_text(""),
    "rows-failed": lambda run: edit(run, "status", "failed"),
    "rows-lost": lambda run: (run / "solutions" / "0.npz").unlink(),
    "rows-damaged": lambda run: (run / "solutions" / "0.npz").write_bytes(RUBBISH),
    "rows-other": lambda run: edit(run, "problem", {"name": "Clustering", "version": 0, "options": {}}),
}


def edit(run: Path, key: str, value: Any) -> None:
    """Change the record of a run."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, key: value}))


MEANT = [  # every kind of name that can be typed, misspelt
    ("trian", "'train'"),
    ("board shw", "'show'"),
    ("list problem", "'problems'"),
    ("train --instnces tiny", "--instances"),
    ("solve tiny/grid-test -p Partitoning", "'Partitioning'"),
    ("list agents -p Partitoning", "'Partitioning'"),
    ("solve tiny/grid-test -a mtis", "'metis'"),
    ("solve tiny/grid-tst", "'tiny/grid-test'"),
    ("evaluate --instances tiny/tst", "'tiny/"),
    ("list instances tny", "'tiny'"),
    ("list instances tiny/tst", "'test'"),
    ("data get walsha", "'walshaw'"),
    ("data path walshw/add20", "'walshaw/add20'"),
    ("solve tiny/grid-test -O mod=refine", "'mode'"),
    ("solve tiny/grid-test -O mode=refin", "'refine'"),
    ("solve tiny/grid-test -O start=gow", "'grow'"),
    ("train -a ppo -p Partitioning --set hiden=3", "'hidden'"),
    ("train -a ppo --recipe partitioning-gp", "'partitioning-gap'"),
    ("train -a ppo --recipe key.toml", "'agent'"),
    ("train -a ppo --recipe budget.toml", "'seconds'"),
    ("train -a ppo --recipe other.toml", "'Partitioning'"),
    ("board show partitioning-tiny-k2", f"'{TINY}'"),
    ("submit good.zip --board partitioning-tiny-k2", f"'{TINY}'"),
    (f"board export {TINY} --format htm", "'html'"),
    (f"pack two --board {TINY} --agent lgd", "'ldg'"),
    ("report one --write one.md --name result", "'results'"),
    ("bench partition", "'partitioning'"),
    ("trace sysgym_zoo.models:rnlm -o x.json", "'rnnlm'"),
    ("show meetis", "'metis'"),
    ("show partitioning-gp", "'partitioning-gap'"),
    ("show tiny/grid-tst", "'tiny/grid-test'"),
]


@pytest.mark.parametrize(("line", "meant"), MEANT)
def test_did_you_mean(line: str, meant: str, inline: Inline, files: Path) -> None:
    said = inline(*shlex.split(line), code=2).stderr
    assert meant in said.split("Did you mean" if "Did you mean" in said else "Possible options", 1)[1], said


@pytest.mark.parametrize(
    ("keywords", "meant"),
    [
        ({"render_mode": "rgb"}, "rgb_array"),
        ({"obs": "ful"}, "full"),
        ({"reward": "finl"}, "final"),
        ({"instnce": "tiny/grid-test"}, "instance"),
    ],
)
def test_did_you_mean_in_python(keywords: dict[str, Any], meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        ProblemEnv("Partitioning", **keywords)


ERRORS = [
    # instances
    ("solve nope", 2, "unknown instance 'nope'"),
    (f"solve {'x' * 5000}", 2, "unknown instance"),
    ("solve empty.graph", 2, "empty.graph, line 1: the file holds no header"),
    ("solve bytes.graph", 2, "a byte that is no ASCII text"),
    ("solve folder.graph", 2, "folder.graph cannot be read: Is a directory"),
    ("solve empty.mtx", 2, "empty.mtx is no usable MatrixMarket file"),
    ("solve damaged.graph.gz", 2, "damaged.graph.gz is a damaged gzip file"),
    ("solve bytes.npz", 2, "bytes.npz is damaged or not of its format (File is not a zip file)"),
    ("solve bytes.npz -p Partitioning", 2, "unknown graph format '.npz'"),
    ("solve delaunay:n=x", 2, "n must be a number, got 'x'"),
    ("solve delaunay:n=1", 2, "n must be 3 to 10000000 and seed not negative"),
    ("solve barabasi_albert:n=5,m=9", 2, "barabasi_albert needs 1 <= m < n, got m=9 and n=5"),
    ("solve stochastic_block:n=5,blocks=9", 2, "stochastic_block needs 1 <= blocks <= n, got blocks=9 and n=5"),
    ("evaluate -p Partitioning --instances ''", 2, "no instance is named"),
    # options and numbers
    ("solve tiny/grid-test -O k", 2, "expected key=value, got 'k'"),
    ("solve tiny/grid-test -O k=two", 2, "option k of Partitioning must be a whole number from 2 to 1024, got 'two'"),
    ("solve tiny/grid-test -O k=-1", 2, "option k must be a whole number from 2 to 1024, got -1"),
    ("solve tiny/grid-test -O eps=nan", 2, "option eps must be a number from 0 to 10, got nan"),
    ("solve tiny/grid-test --seconds inf", 2, "--seconds must be a finite number from 0, got inf"),
    ("evaluate --instances path.txt --seconds inf", 2, "--seconds must be a finite number from 0, got inf"),
    ("solve tiny/grid-test --seconds nan", 2, "Invalid value for '--seconds'"),
    ("solve tiny/grid-test --seed -1", 2, "Invalid value for '--seed'"),
    ("evaluate -a fm --seeds 0", 2, "--seeds must be at least 1, got 0"),
    ("train --agent ppo-refine --steps 0", 2, "must be positive"),
    ("train --agent ppo-refine --seconds nan", 2, "must be positive"),
    ("train --agent ppo -p Partitioning --set n_steps=0", 2, "n_steps of agent 'ppo' must be a whole number from 2"),
    (
        "train --agent ppo -p Partitioning --set learning_rate=nan",
        2,
        "learning_rate of agent 'ppo' must be a number",
    ),
    ("train --agent gap --set repair=maybe", 2, "option repair of agent 'gap' must be true or false, got 'maybe'"),
    # agents
    ("solve tiny/grid-test -a ppo", 2, "agent 'ppo' knows nothing before it is trained"),
    ("solve tiny/grid-test -a ''", 2, "unknown agent ''"),
    ("solve tiny/grid-test -a .", 2, "is no run folder: it holds no run.json"),
    ("solve tiny/grid-test -a listed", 2, "listed/run.json is no record of a run"),
    ("solve tiny/grid-test -a bare", 2, "bare/run.json is no record of a run"),
    ("solve tiny/grid-test -a cut", 2, "cut/run.json: this is no valid JSON"),
    ("solve tiny/grid-test -a agentless", 2, "agentless holds no trained agent; give a run folder made by"),
    ("solve tiny/grid-test -a unfit", 2, "unfit/agent holds no weights of agent 'maskable-ppo'"),
    ("solve tiny/grid-test -a weightless", 2, "weightless/agent holds no weights of agent 'maskable-ppo'"),
    ("solve tiny/grid-test -a elsewhere", 2, "elsewhere was trained on Clustering, not Partitioning"),
    ("solve tiny/grid-test -a kahip -O k=1000", 2, "agent 'kahip' cannot split the"),
    ("evaluate --agent fm --agent fm", 2, "an agent is named twice"),
    ("train --agent metis", 2, "agent 'metis' does not learn"),
    ("train", 2, "no agent is named"),
    ("train --agent dqn -p Partitioning -O mode=oneshot --steps 9", 2, "DQN cannot act in Partitioning in mode"),
    # recipes, run folders, resuming
    ("train -a ppo --recipe nope", 2, "unknown recipe 'nope'"),
    ("train -a ppo --recipe folder.toml", 2, "folder.toml cannot be read: Is a directory"),
    ("train -a ppo --recipe bytes.toml", 2, "recipe bytes.toml cannot be read: 'utf-8'"),
    ("train -a ppo --recipe syntax.toml", 2, "recipe syntax.toml: Invalid value"),
    ("train -a ppo --recipe kind.toml", 2, "recipe kind.toml: hyper must be a table, got 3"),
    ("train -a ppo --recipe spent.toml", 2, "recipe spent.toml: seconds must be a positive number, got -3"),
    ("train -a ppo --recipe half.toml", 2, "recipe half.toml: steps must be a positive whole number, got 2.5"),
    ("train -a ppo -p Partitioning --recipe hyper.toml", 2, "unknown option of agent 'ppo' 'hiden'"),
    ("train -a ppo -p Partitioning --recipe value.toml", 2, "hidden of agent 'ppo' must be a whole number from 1"),
    (
        "train -a ppo -p Partitioning --recipe option.toml",
        2,
        "option k must be a whole number from 2 to 1024, got 'two'",
    ),
    ("train -a ppo-refine --out taken", 2, "taken exists already; name a new folder with --out, or go on with"),
    ("train -a ppo-refine --out path.txt/x", 2, "cannot make the run folder path.txt/x: Not a directory"),
    ("train -a ppo-refine --resume", 2, "--resume needs --out"),
    ("train --out taken --resume --set hidden=3", 2, "what the run was started with; leave --set out"),
    ("train --out unnamed --resume", 2, "unnamed is no run folder: it holds no run.json"),
    ("train --out one --resume", 2, "only training can be resumed"),
    ("train --out changed --resume", 2, "tiny/grid-train has changed since the run began"),
    # solutions
    ("judge tiny/grid-test none.part", 2, "none.part cannot be read: No such file"),
    ("judge tiny/grid-test folder.npz", 2, "folder.npz cannot be read: Is a directory"),
    ("judge tiny/grid-test text.part", 3, "text.part: line 1: expected one part id, got 'hello'"),
    ("judge path.txt empty.json", 3, "empty.json: this is no valid JSON"),
    ("judge path.txt bytes.npz", 3, "bytes.npz: this is no usable .npz file"),
    ("judge path.txt bytes.npy", 3, "bytes.npy: this is no usable .npy array"),
    ("judge path.txt empty.part", 3, "empty.part: array 'part' (one part id a node) has shape (0,), expected (3,)"),
    ("judge path.txt nan.json", 3, "NaN is not a JSON number"),
    ("judge path.txt named.json", 3, "expected the arrays part, got parts"),
    ("judge text.graph text.part", 2, "text.graph, line 1: the header must be"),
    ("judge tiny/grid-test /dev/zero", 3, "is larger than the 268435456 bytes"),
    ("solve tiny/grid-test -o no/such/x.json", 2, "the folder no/such does not exist"),
    ("solve tiny/grid-test -o folder.json", 2, "cannot write folder.json: it is a folder"),
    ("render path.txt good.json -o x.xyz", 2, "cannot write x.xyz: use a name that ends in .png"),
    ("render path.txt good.json -o no/such/x.png", 2, "cannot write no/such/x.png: No such file or directory"),
    ("render path.txt good.json -o x.gif", 2, "Partitioning draws no animation; use a name that ends in .png"),
    # grouping
    (f"group text.pb.txt -o x.pb.txt {CANVAS}", 2, "expected ':' or '{' after 'hello', but the file ends here"),
    (f"group none.pb.txt -o x.pb.txt {CANVAS}", 2, "none.pb.txt cannot be read: No such file or directory"),
    (f"group text.part -o x.pb.txt {CANVAS}", 2, "text.part is no design file by its ending"),
    (f"group macro.pb.txt -o x.pb.txt {CANVAS}", 2, "macro.pb.txt holds no standard cells to group"),
    ("group stdcell.pb.txt -o x.pb.txt", 2, "--width, --height, --columns missing; give --width, --height (microns)"),
    ("group stdcell.pb.txt -o x.pb.txt --width 9 --columns 3", 2, "the canvas is not known: --height missing"),
    (f"group stdcell.pb.txt -o x.pb.txt {CANVAS} --rows 0", 2, "--rows must be a positive number up to 10000000,"),
    (f"group stdcell.pb.txt -o x.pb.txt {CANVAS} --plc x.plc", 2, "both --plc and a size are given"),
    ("group stdcell.pb.txt -o x.pb.txt --plc text.part", 2, "text.part names no canvas; its comments must hold"),
    (f"group stdcell.pb.txt -o x.pb.txt {CANVAS} --groups a --partition b", 2, "both --groups and --partition are"),
    (f"group stdcell.pb.txt -o x.pb.txt {CANVAS} --groups text.part", 2, "text.part line 1: expected the number of a"),
    (f"group stdcell.pb.txt -o x.pb.txt {CANVAS} --groups two.groups", 2, "two.groups names 2 groups, netlist"),
    (f"group stdcell.pb.txt -o x.pb.txt {CANVAS} --partition minus.groups", 2, "node 'A' the number -1; expected 0 to"),
    (f"group stdcell.pb.txt -o no/such/x.pb.txt {CANVAS}", 2, "the folder no/such does not exist"),
    (f"group stdcell.pb.txt -o folder.pb.txt {CANVAS} --groups good.groups", 2, "cannot write folder.pb.txt: Is a dir"),
    (f"group stdcell.pb.txt -o x.txt {CANVAS}", 2, "cannot write x.txt: use a name that ends in .pb.txt or .pb.txt.gz"),
    # tracing
    ("trace nope -o x.json", 2, "expected module:function, such as sysgym_zoo.models.rnn:rnnlm, or a file .onnx"),
    ("trace nope:build -o x.json", 2, "there is no module 'nope', neither in the current folder nor installed"),
    (
        "trace sysgym_zoo.models:gpt2 -o x.json --arg layers=x",
        2,
        "option layers of sysgym_zoo.models:gpt2 must be",
    ),
    ("trace sysgym_zoo.models:gpt2 -o x.txt", 2, "cannot write x.txt: use a name that ends in .json.gz"),
    ("trace sysgym_zoo.models:gpt2 -o no/such/x.json", 2, "the folder no/such does not exist"),
    ("trace sysgym_zoo.models:gpt2 -o x.json --devices 0", 2, "--devices must be a whole number from 1 to 64, got 0"),
    ("trace sysgym_zoo.models:gpt2 -o x.json --times empty.json", 2, "empty.json is damaged or not of its format"),
    ("trace sysgym_zoo.models:gpt2 -o x.json --profile good.json", 2, "good.json is no Chrome trace: it needs"),
    ("trace model.onnx --train -o x.json", 2, "an ONNX file holds one forward pass with fixed sizes; leave"),
    # reports
    ("report taken", 2, "taken is no run folder"),
    ("report trained", 2, "trained is a train run; a report needs runs of"),
    ("report rows-cut", 2, "the rows of rows-cut: this is no valid JSON"),
    ("report rows-wrong", 2, "rows-wrong/metrics.jsonl does not hold the rows of an evaluation"),
    ("report rows-none", 2, "rows-none/metrics.jsonl does not hold the rows of an evaluation"),
    ("report rows-failed", 2, "rows-failed ended as 'failed'; evaluate it again"),
    ("report one --write empty.md", 2, "empty.md has no lines '<!-- sysgym report: results -->' and"),
    ("report one --write open.md", 2, "open.md has no lines '<!-- sysgym report: results -->' and"),
    ("report one --write bytes.md", 2, "cannot read bytes.md: 'utf-8'"),
    ("report one --write folder.md", 2, "cannot read folder.md: Is a directory"),
    # submissions and boards
    (f"pack taken --board {TINY}", 2, "taken holds solution files and no run; say whose they are"),
    (f"pack two --board {TINY}", 2, "choose one with --agent"),
    (f"pack rows-lost --board {TINY}", 2, "rows-lost/solutions/0.npz cannot be read: No such file or directory"),
    (f"pack rows-damaged --board {TINY}", 2, "the solution rows-damaged/solutions/0.npz cannot be read"),
    (f"pack rows-other --board {TINY}", 2, "is for Partitioning-v0, rows-other is of Clustering"),
    (f"pack one --board {TINY} -o no/such/x.zip", 2, "cannot write no/such/x.zip: No such file"),
    (f"pack one --board {TINY} --code ftp:x", 2, "code must be a plain http(s) address, such as"),
    ("submit none.zip", 2, "cannot read the submission none.zip"),
    ("submit folder.zip", 2, "cannot read the submission folder.zip: Is a directory"),
    ("submit bytes.zip", 3, "this is no plain zip file"),
    (f"submit text.part --board {TINY}", 3, f"rejected on {TINY}"),
    ("submit good.zip --store bytes.zip", 2, "the store bytes.zip cannot be used: file is not a database"),
    ("submit good.zip --store path.txt/x.sqlite", 2, "cannot create the folder of path.txt/x.sqlite"),
    ("board show nope", 2, "unknown board 'nope'"),
    ("board show ''", 2, "unknown board ''"),
    ("board verify ''", 2, "unknown board ''"),
    ("board show nope.toml", 2, "cannot read the board nope.toml: No such file"),
    ("board show empty.toml", 2, "empty.toml: the key 'id' is missing"),
    ("board show bytes.toml", 2, "bytes.toml is no valid TOML"),
    ("board export", 2, "no board has an entry yet"),
    (f"board export {TINY} --out path.txt", 2, "cannot write to the folder path.txt"),
    # data
    ("data path walshaw", 2, "'walshaw' is a set; name one instance"),
    ("demo --out taken", 2, "taken exists already"),
]


@pytest.mark.parametrize(("line", "code", "sentence"), ERRORS, ids=[line[:60] for line, _, _ in ERRORS])
def test_errors_are_one_sentence(line: str, code: int, sentence: str, inline: Inline, files: Path) -> None:
    if "kahip" in line:
        pytest.importorskip("kahip")
    done = inline(*shlex.split(line), code=code)
    assert sentence in done.stderr + done.stdout
    assert "unexpected" not in done.stderr and (code == 3 or not done.stdout)
    if "Usage:" not in done.stderr:
        assert len((done.stderr + done.stdout).strip().splitlines()) == 1


def test_public_data_that_is_nowhere(sysgym: Run, tmp_path: Path) -> None:
    """In processes of their own: this one may have read the files before."""
    nowhere = {"SYSGYM_DATA": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    (tmp_path / "partitioning" / "walshaw").mkdir(parents=True)
    for words in (("solve", "networks/lesmis"), ("data", "path", "networks/lesmis")):
        said = sysgym(*words, code=2, **nowhere).stderr
        assert "is not on this machine; run `sysgym data get networks` or let SYSGYM_DATA name" in said
    said = sysgym("data", "get", "compgraph/alexnet_train", code=2, **nowhere).stderr
    assert "has no public address; put it below SYSGYM_DATA by hand (0 files of 'compgraph/alexnet_train' are" in said
    said = sysgym("data", "get", "walshaw/uk", code=2, **nowhere, HTTPS_PROXY="http://127.0.0.1:9").stderr
    assert len(said.splitlines()) == 1 and "cannot be reached (" in said and "elsewhere and put it at" in said
    (tmp_path / "partitioning" / "walshaw" / "add20.graph").write_text("wrong\n")
    assert "delete it and fetch it again" in sysgym("solve", "walshaw/add20", code=2, **nowhere).stderr


def test_file_names_need_not_be_text(inline: Inline, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.txt")
    try:
        (tmp_path / name).write_text("0 1\n1 2\n")
    except OSError:
        pytest.skip("this file system takes text only")
    assert "feasible" in inline("solve", name).stdout
    assert json.loads(inline("solve", name, "--json").stdout)["instance"] == name
