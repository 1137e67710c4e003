"""Files from strangers: whatever one holds, a reader answers or refuses it with one sentence, soon, in little memory.

What parses is judged as well, by a trivial answer, so that a file that only breaks later is found too.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import resource
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lefdef import DEF, LEF
from mutations import check, mutated, mutated_json

import sysgym
from sysgym import InvalidSolution, UsageError
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import format_plc
from sysgym.chip_placement.grouping.rules import read_groups
from sysgym.core.data import FREE, MAX_RATIO, decompress, read_file
from sysgym.core.errors import printable, reading
from sysgym.core.solutions import parse_json, parse_npy, parse_npz, read_solution
from sysgym.dataflow.graphs.io import format_graph
from sysgym_agents.core import make_agent
from sysgym_zoo.lookup.recipes import load_recipe
from sysgym_zoo.tools.tracing.cost import read_profile

Reader = tuple[bytes, Callable[[bytes], Any], Any]  # a valid file, what uses its content, how to change it
NODES = (
    "UCLA nodes 1.0\n# by hand\n\nNumNodes : 5\nNumTerminals : 3\n"
    "m 4 6 terminal\na 1 2\nb 3 2\npad 1 2 terminal\nni 8 8 terminal_NI\n"
)
NETS = (
    "UCLA nets 1.0\nNumNets : 3\nNumPins : 8\nNetDegree : 3 n0\n a I : 0 0\n m O : -1.5 2\n pad B\n"
    "NetDegree : 3 n1\n m I\n m I : 1 1\n b O : 0.5 0\nNetDegree : 2 n2\n ni I\n a I\n"
)
PL = "UCLA pl 1.0\nm 6 5 : FN /FIXED\na 5 4 : N\nb 7 6 : N\npad 4 4 : E /FIXED_NI\nni 0 0 : N\n"
ROW = (
    "CoreRow Horizontal\n Coordinate : {}\n Height : 2\n Sitewidth : 1\n Sitespacing : 1\n Siteorient : 1\n"
    " SubrowOrigin : 5 NumSites : 9\nEnd\n"
)
BOOKSHELF = {
    "nodes": NODES, "nets": NETS, "pl": PL, "scl": "UCLA scl 1.0\nNumRows : 2\n" + ROW.format(4) + ROW.format(6),
    "wts": "UCLA wts 1.0\nn1 2.5\na 3\n", "aux": "RowBasedPlacement : t.nodes t.nets t.wts t.pl t.scl\n",
}  # fmt: skip
FLOORPLAN = {
    "block": "Outline: 20 10\nNumBlocks: 2\nNumTerminals: 1\n\nA 4 6\nB\t3 2\np terminal 20 5\n",
    "nets": "NumNets: 2\nNetDegree: 2\nA\nB\nNetDegree: 3\np\nB\nA\n",
}
UCSC = {
    "blocks": "UCSC blocks 1.0\nNumSoftRectangularBlocks : 1\nNumHardRectilinearBlocks : 1\nNumTerminals : 2\n"
    "a hardrectilinear 4 (0, 0) (0, 30) (20, 30) (20, 0)\ns softrectangular 400 0.5 2.0\np1 terminal\np2 terminal\n",
    "nets": "UCLA nets 1.0\nNumNets : 2\nNumPins : 5\nNetDegree : 3\np1 B\na B : %10.0 %-50.0\ns B\n"
    "NetDegree : 2\na B\ns B\n",
    "pl": "UCLA pl 1.0\na 0 0\ns 0 0\np1 0 12\np2 60 60\n",
}
GRAPHS = {
    "g.graph": b"% c\n5 6 011\n1 2 3 3 1\n2 1 3 3 2 4 1\n1 1 1 2 2 5 4\n3 2 1 5 1\n1 3 4 4 1\n",
    "g.mtx": b"%%MatrixMarket matrix coordinate integer symmetric\n% c\n4 4 4\n2 1 3\n3 1 1\n4 2 2\n4 3 5\n",
    "g.txt": b"# c\n0 1 2\n1 2 3\n2 3 1\n3 0 4\n", "g.txt.gz": gzip.compress(b"0 1\n1 2\n2 3\n3 0\n", mtime=0),
}  # fmt: skip
DEVICES = {
    "devices": [{"kind": "gpu", "speed": 1.0, "capacity": 16e9}, {"kind": "cpu", "speed": 0.5}],
    "bandwidth": [[0, 12], [12, 0]], "latency_ns": 10000, "link_mode": "pair",
}  # fmt: skip
RECIPE = (
    b'about = "x"\nagent = "gap"\nproblem = "Partitioning"\ninstances = "tiny/train"\n[options]\nk = 4\neps = 0.03\n'
    b"[hyper]\nhidden = 16\nlayers = 2\n[budget]\nseconds = 1.0\nsteps = 10\n"
)


def saved(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def graph(folder: Path, name: str) -> Reader:
    """A graph, cut in one part."""
    problem = sysgym.make_problem("Partitioning")

    def use(content: bytes) -> None:
        found = problem.load(saved(folder / name, content))
        problem.judge(found, {"part": np.zeros(found.nodes, np.int64)})

    return GRAPHS[name], use, mutated


def on_one(problem: Any, found: Any) -> None:
    problem.judge(found, {"placement": np.zeros(found.nodes, np.int64)})


def dataflow(folder: Path) -> Reader:
    """A graph of operators, all on one device."""
    problem = sysgym.make_problem("DevicePlacement")
    data = gzip.decompress(format_graph(problem.load("layered:depth=3,width=3,seed=1")))
    return data, lambda content: on_one(problem, problem.load(saved(folder / "d.json", content))), mutated_json


def devices(folder: Path) -> Reader:
    """A description of devices."""
    made = sysgym.make_problem("DevicePlacement").load("layered:depth=3,width=3,seed=1")

    def use(content: bytes) -> None:
        on_one(sysgym.make_problem("DevicePlacement", devices=saved(folder / "c.json", content)), made)

    return json.dumps(DEVICES).encode(), use, mutated_json


def as_it_stands(problem: Any, chip: Any) -> None:
    """Judge a chip by the positions of its own file."""
    rows, at = chip.macros, chip.placement
    problem.judge(chip, {"x": at.x[rows], "y": at.y[rows], "orientation": at.orientation[rows]})


def chip(folder: Path, part: str) -> Reader:
    """One file of a protobuf design, or the placement as a solution."""
    problem = sysgym.make_problem("ChipPlacement")
    made = problem.load("tiles:rows=2,columns=2,seed=1")
    texts = {
        "n.pb.txt": format_netlist(made.netlist),
        "initial.plc": format_plc(made.netlist, made.canvas, made.placement),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)

    def use(content: bytes) -> None:
        (folder / part).write_bytes(content)
        as_it_stands(problem, problem.load(str(folder / "n.pb.txt")))

    def solution(content: bytes) -> None:
        problem.judge(made, read_solution(problem, made, saved(folder / part, content)))

    return texts.get(part, texts["initial.plc"]).encode(), solution if part == "s.plc" else use, mutated


def design(folder: Path, texts: dict[str, str], part: str, opened: str) -> Reader:
    """One file of a bookshelf design or a floorplan."""
    problem = sysgym.make_problem("ChipPlacement", mode="hpwl")
    for name, text in texts.items():
        (folder / f"t.{name}").write_text(text)

    def use(content: bytes) -> None:
        (folder / f"t.{part}").write_bytes(content)
        as_it_stands(problem, problem.load(str(folder / f"t.{opened}")))

    return texts[part].encode(), use, mutated


def exchange(folder: Path, part: str) -> Reader:
    """A DEF, its library, or a DEF as a solution, which is written too."""
    problem = sysgym.make_problem("ChipPlacement", lef=str(folder / "t.lef"))
    (folder / "t.def").write_text(DEF)
    (folder / "t.lef").write_text(LEF)
    made = problem.load(str(folder / "t.def"))

    def use(content: bytes) -> None:
        (folder / part).write_bytes(content)
        as_it_stands(problem, problem.load(str(folder / "t.def")))

    def solution(content: bytes) -> None:
        found = read_solution(problem, made, saved(folder / part, content))
        problem.judge(made, found)
        for file in ("out.def", "out.tcl"):
            problem.format_solution(made, found, file)

    return (LEF if part == "t.lef" else DEF).encode(), solution if part == "s.def" else use, mutated


def groups(folder: Path) -> Reader:
    """One group a node."""
    netlist = sysgym.make_problem("ChipPlacement").load("tiles:rows=1,columns=1,seed=1").netlist
    data = "\n".join(["3"] * len(netlist.kind)).encode()
    return data, lambda content: read_groups(saved(folder / "g.part", content), netlist), mutated


def solution(folder: Path, ending: str) -> Reader:
    """A partition of a grid."""
    problem = sysgym.make_problem("Partitioning")
    grid = problem.load("tiny/grid-test")
    part = np.arange(grid.nodes) % 2
    stream = io.BytesIO()
    if ending == "npy":
        np.save(stream, part)
    elif ending == "npz":
        np.savez(stream, part=part)
    else:
        text = json.dumps({"part": part.tolist()}) if ending == "json" else "\n".join(map(str, part))
        stream.write(text.encode())

    def use(content: bytes) -> None:
        problem.judge(grid, read_solution(problem, grid, saved(folder / f"s.{ending}", content)))

    return stream.getvalue(), use, mutated_json if ending == "json" else mutated


def recipe(folder: Path) -> Reader:
    """A recipe, its problem and its agent built."""

    def use(content: bytes) -> None:
        found = load_recipe(saved(folder / "r.toml", content))
        sysgym.make_problem(found.problem, **found.options)
        make_agent(found.agent, **found.hyper)

    return RECIPE, use, mutated


def times(folder: Path) -> Reader:
    """Times of operators, from a profiler."""
    data = json.dumps(
        {"traceEvents": [{"name": "aten::addmm", "dur": 12.5}, {"name": "aten::relu", "dur": 1}]}
    ).encode()
    return data, lambda content: read_profile(Path(saved(folder / "p.json", content))), mutated_json


READERS: dict[str, Callable[[Path], Reader]] = {
    **{name: lambda folder, name=name: graph(folder, name) for name in GRAPHS},
    "dataflow": dataflow, "devices": devices, "groups": groups, "recipe": recipe, "times": times,
    **{name: lambda folder, name=name: chip(folder, name) for name in ("n.pb.txt", "initial.plc", "s.plc")},
    **{f"bookshelf-{part}": lambda folder, part=part: design(folder, BOOKSHELF, part, "aux") for part in BOOKSHELF},
    **{f"floorplan-{part}": lambda folder, part=part: design(folder, FLOORPLAN, part, "block") for part in FLOORPLAN},
    **{f"lefdef-{part}": lambda folder, part=part: exchange(folder, part) for part in ("t.def", "t.lef", "s.def")},
    **{f"ucsc-{part}": lambda folder, part=part: design(folder, UCSC, part, "blocks") for part in UCSC},
    **{f"solution-{end}": lambda folder, end=end: solution(folder, end) for end in ("npy", "npz", "json", "part")},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::sysgym.core.errors.Notice")
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("name", READERS)
def test_mutations_of_a_file_get_an_answer_or_a_sentence(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysgym.core.data.cache_folder", lambda: tmp_path / "cache" / "data")
    data, use, mutate = READERS[name](tmp_path)
    found = check(use, data, mutate, count)
    assert found["sentence"] > count / 20


def test_the_same_seed_gives_the_same_mutations() -> None:
    def made() -> list[bytes]:
        tree = json.dumps(DEVICES).encode()
        return [change(random.Random(n), tree) for n in range(50) for change in (mutated, mutated_json)]

    assert made() == made() and len({*made()}) > 80


# ------------------------------------------------------------------------------------------------ limits

BOMB = 2**31  # bytes that the bomb unpacks to
ADDRESSES = 3 * 2**30  # bytes of memory that the process may ask for
USES: dict[str, Callable[[Path], Any]] = {
    "g.txt.gz": lambda path: sysgym.make_problem("Partitioning").load(str(path)),
    "d.json.gz": lambda path: sysgym.make_problem("DevicePlacement").load(str(path)),
    "n.pb.txt.gz": lambda path: sysgym.make_problem("ChipPlacement").load(str(path)),
    "s.part.gz": lambda path: judged(path), "s.npz": lambda path: judged(path),
}  # fmt: skip


def judged(path: Path) -> Any:
    problem = sysgym.make_problem("Partitioning")
    return read_solution(problem, problem.load("tiny/grid-test"), path)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two megabytes that unpack to two gigabytes."""
    block, packer = bytes(2**24), zlib.compressobj(9, wbits=31)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    second = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + second * (BOMB // len(block) - 1)  # cut off, which nobody gets to see


@pytest.mark.parametrize("name", USES)
def test_what_unpacks_to_gigabytes_is_refused_in_little_memory(name: str, bomb: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(bomb)
    assert len(bomb) < 3 * 2**20
    if name.endswith(".npz"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("part.npy", "w") as stream:
            for _ in range(20):
                stream.write(bytes(2**24))
    said, grew = in_a_fork(lambda: USES[name](path))
    assert said.startswith(("UsageError", "InvalidSolution")) and "unpacks to more than" in said and str(path) in said
    assert grew < 700 * 2**20


def in_a_fork(act: Callable[[], Any]) -> tuple[str, int]:
    """What an act raises in a process with a limit on its memory, and by how many bytes that process grew."""
    come, go = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside threads
        pid = os.fork()
    if not pid:
        try:
            held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limit = held + ADDRESSES  # whatever other tests have loaded into this process
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                act()
                said = "nothing"
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            grew = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            os.write(go, json.dumps([said, grew]).encode())
        finally:
            os._exit(0)
    os.close(go)
    with open(come, "rb") as stream:
        content = stream.read()
    os.waitpid(pid, 0)
    said, grew = json.loads(content)
    return said, grew


def test_gzip_files_unpack_to_a_stated_many_times_their_size() -> None:
    assert decompress("x", gzip.compress(bytes(FREE))) == bytes(FREE)  # small ones whatever they are
    noise = np.random.default_rng(0).bytes(2**20)
    assert decompress("x", gzip.compress(noise) + gzip.compress(noise)) == 2 * noise  # two members
    many = gzip.compress(noise) + gzip.compress(bytes(MAX_RATIO * 2**20 + FREE))
    with pytest.raises(UsageError, match=r"x unpacks to more than \d+ bytes from \d+; unpack it by hand"):
        decompress("x", many)


def test_files_are_read_within_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(11))
    assert read_file(path, 11) == bytes(11)
    for file, limit in ((path, 10), (Path("/dev/zero"), 1000)):
        with pytest.raises(UsageError, match=f"{file} is larger than the {limit} bytes"):
            read_file(file, limit)


# ------------------------------------------------------------------------------------------------ JSON, arrays, text


def test_duplicate_keys_are_named_in_linear_time() -> None:
    def seconds(count: int) -> float:
        text = json.dumps({f"key{i}": 0 for i in range(count)})[:-1] + f', "key{count - 1}": 1}}'
        took = []
        for _ in range(3):
            started = time.process_time()
            with pytest.raises(InvalidSolution, match=f"the key 'key{count - 1}' occurs twice"):
                parse_json(text)
            took.append(time.process_time() - started)
        return min(took)

    seconds(1000)
    # eight times the keys; quadratic were 64 times as long, a disturbed core is not so five times in a row
    assert any(seconds(80_000) < 8 * 4 * seconds(10_000) for _ in range(5))


@pytest.mark.parametrize(("text", "sentence"), [
    ("1e999", "1e999 is not finite"), ("-Infinity", "-Infinity is not a JSON number"),
    ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs twice"), ("[" * 10**5, "no valid JSON"),
    ("9" * 5000, "no valid JSON"), (b"\xff\xfe\x00", "no valid JSON"),
])  # fmt: skip
def test_json_is_strict(text: str | bytes, sentence: str) -> None:
    with pytest.raises(InvalidSolution, match=sentence):
        parse_json(text)


def test_headers_of_arrays_are_not_believed() -> None:
    def array(header: str) -> bytes:
        padded = header.ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()

    for shape in ("(10**12,)", "(1000000000000,)", "(-1,)", "(-5, -7)", "(2**70, 0)", "()"):
        with pytest.raises(InvalidSolution, match=r"no usable \.npy array"):
            parse_npy(array(f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}") + b"1234567")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("a.npy", "a.npy"):
            archive.writestr(name, solution_bytes())
    with pytest.raises(InvalidSolution, match="the array 'a' twice"):
        parse_npz(stream.getvalue())


def solution_bytes() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    return stream.getvalue()


def test_sentences_are_printable_and_short() -> None:
    error = UsageError("red \x1b[31m, turned \u202e, lone \ud800,\nnext; é 日 stay")
    assert str(error) == "red \\x1b[31m, turned \\u202e, lone \\ud800,\\nnext; é 日 stay"
    assert printable("a\nb\x07") == "a\nb\\x07"
    long = str(InvalidSolution("from " + "x" * 10**6 + " to the end"))
    assert len(long) <= 1000 and long.startswith("from ") and long.endswith(" to the end")


@pytest.mark.parametrize("failure", [
    KeyError("x"), OverflowError("too large"), MemoryError(), RecursionError(), zlib.error("Error -3"), EOFError(),
    zipfile.BadZipFile("no zip"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), AssertionError(), OSError(5, "io"),
    InvalidSolution("the key 'a' occurs twice."),
], ids=lambda failure: type(failure).__name__)  # fmt: skip
def test_whatever_fails_in_a_reader_is_a_sentence(failure: Exception) -> None:
    with pytest.raises(UsageError, match=r"^x\.json\b.*\.$"), reading("x.json"):
        raise failure
