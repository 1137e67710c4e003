"""Hostile files: each is refused by InvalidSolution with a sentence, and nothing of it runs or is written."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym.core.solutions import check_arrays, parse_npy
from sysgym_leaderboards import Answer, Board, pack, read_submission
from sysgym_leaderboards.archive import MAX_FILE
from sysgym_leaderboards.submissions import read_bytes

pytestmark = pytest.mark.usefixtures("forked_judge")

FIRST = "solutions/0/0/part.npy"
Edited = Callable[..., bytes]


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def with_array(data: bytes, file: str = "part.npy") -> Callable[[dict[str, Any]], None]:
    """A change of the manifest that lists `data` as the first answer's array, with its true sha256."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["answers"][0]["files"] = {file: hashlib.sha256(data).hexdigest()}

    return change


def refused(data: bytes, sentence: str) -> None:
    with pytest.raises(sysgym.InvalidSolution) as caught:
        read_bytes(data)
    text = str(caught.value)
    assert sentence in text, text
    assert "\n" not in text and len(text) < 600


def raw_zip(infos: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for info, content in infos:
            archive.writestr(info, content)
    return stream.getvalue()


def test_what_was_packed_is_read(packed: bytes, board: Board, halves: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(packed)
    found = read_submission(path)
    assert found.board == board.id and found.board_hash == board.hash and found.about["agent"] == "halves"
    assert found.instances == board.instance_hashes()
    assert found.sha256 == hashlib.sha256(packed).hexdigest()
    for pair, answer in halves.items():
        np.testing.assert_array_equal(found.answers[pair].arrays["part"], answer.arrays["part"])
        assert found.answers[pair].cost == answer.cost


def test_packing_is_deterministic(board: Board, halves: Any, packed: bytes, tmp_path: Path) -> None:
    manifest = {"agent": "halves", "authors": ["A. Tester"], "created": "2026-01-31T12:00:00Z", "threads": 1}
    assert pack(tmp_path / "b.zip", board, manifest, dict(reversed(halves.items()))).read_bytes() == packed


def test_packing_refuses_what_would_be_rejected(board: Board, halves: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    some = dict(list(halves.items())[1:])
    with pytest.raises(sysgym.UsageError, match=r"3 of 4 .* missing: tiny/delaunay-test seed 0"):
        pack(path, board, {"agent": "x"}, some)
    with pytest.raises(sysgym.UsageError, match="does not ask for tiny/grid-test seed 7"):
        pack(path, board, {"agent": "x"}, {**halves, ("tiny/grid-test", 7): halves["tiny/grid-test", 0]})
    with pytest.raises(sysgym.UsageError, match="agent must be"):
        pack(path, board, {"agent": ""}, halves)
    with pytest.raises(sysgym.UsageError, match="no field 'speed'"):
        pack(path, board, {"agent": "x", "speed": 1}, halves)
    with pytest.raises(sysgym.UsageError, match="type object"):
        pack(path, board, {"agent": "x"}, {p: Answer({"part": np.array([None])}) for p in halves})
    with pytest.raises(sysgym.UsageError, match="code must be a plain http"):
        pack(path, board, {"agent": "x", "code": "javascript:alert(1)"}, halves)
    assert not path.exists()


def test_json_arrays_are_accepted(edited: Edited) -> None:
    data = json.dumps([0, 1] * 32).encode()
    found = read_bytes(edited(with_array(data, "part.json"), members={FIRST: None, "solutions/0/0/part.json": data}))
    assert found.answers["tiny/delaunay-test", 0].arrays["part"].sum() == 32


@pytest.mark.parametrize(
    "name",
    [
        "../../escape.npy", "/etc/cron.d/x", "solutions/../../x.npy", "solutions\\0\\0\\part.npy", "C:/x.npy",
        "solutions/0/0/.npy", "solutions/0/0/part.pkl", "solutions/00/0/part.npy", "solutions/٣/0/part.npy",
        "solutions/0/0/", "nested.zip", "submission.json\n", "solutions/0/0/part.npy/x.npy", "solutions/0/0/a.npy.npy",
    ],
)  # fmt: skip
def test_member_names_are_allow_listed(edited: Edited, name: str) -> None:
    refused(edited(members={name: b"x"}), "expected only submission.json and solutions/")


def test_a_name_cut_by_nul_is_refused(packed: bytes) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("submission.jsonX.sh", b"x")
    refused(stream.getvalue().replace(b"submission.jsonX.sh", b"submission.json\0.sh"), "the zip")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(kind: int) -> None:
    info = zipfile.ZipInfo(FIRST)
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refused(raw_zip([(info, b"/etc/passwd")]), "a link or a special file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_refused() -> None:
    infos = [(zipfile.ZipInfo("submission.json"), b"{}"), (zipfile.ZipInfo("submission.json"), b"[]")]
    refused(raw_zip(infos), "'submission.json' twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(method: int) -> None:
    info = zipfile.ZipInfo("submission.json")
    info.compress_type = method
    refused(raw_zip([(info, b"{}")]), "expected deflate")


def test_encryption_is_refused(packed: bytes) -> None:
    data = bytearray(packed)
    start = data.index(b"PK\x01\x02")
    data[start + 8] |= 1
    refused(bytes(data), "encrypted")


def bomb(megabytes: int, name: str, claimed: int | None = None) -> bytes:
    """A member of zeros; its headers may claim another size than it has."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    data = raw_zip([(info, bytes(megabytes * 2**20))])
    if claimed is None:
        return data
    return data.replace((megabytes * 2**20).to_bytes(4, "little"), claimed.to_bytes(4, "little"))


def test_zip_bombs_are_stopped_while_they_unpack() -> None:
    data = bomb(300, FIRST)
    assert len(data) < 2**20
    started = time.process_time()
    refused(data, "all members unpack to more than 268435456 bytes")
    refused(bomb(20, "submission.json"), "unpacks to more than 16777216 bytes")
    refused(bomb(20, "submission.json", claimed=100), "")
    assert time.process_time() - started < 10


def test_many_small_bombs_count_together() -> None:
    infos = []
    for index in range(5):
        info = zipfile.ZipInfo(f"solutions/{index}/0/part.npy")
        info.compress_type = zipfile.ZIP_DEFLATED
        infos.append((info, bytes(60 * 2**20)))
    refused(raw_zip(infos), "all members unpack to more than")


def test_too_many_members_are_refused_before_the_directory_is_parsed() -> None:
    infos = [(zipfile.ZipInfo(f"solutions/{index}/0/a.npy"), b"") for index in range(5001)]
    data = raw_zip(infos)
    refused(data, "5001 members")
    lying = bytearray(data)
    lying[-14:-10] = (1).to_bytes(2, "little") * 2  # the end record claims one member
    refused(bytes(lying), "5001 members")
    huge = bytearray(data)
    huge[-14:-10] = (1).to_bytes(2, "little") * 2
    huge[-10:-6] = (2**24).to_bytes(4, "little")
    refused(bytes(huge), "bytes of directory")


def test_files_that_are_no_plain_zip_are_refused(packed: bytes, tmp_path: Path) -> None:
    for data in (b"", b"PK", b"hello" * 100, packed[:-1], packed + b"x", packed[: len(packed) // 2]):
        refused(data, "no plain zip file")
    refused(packed[:-22] + b"PK\x06\x07" + bytes(16) + packed[-22:], "zip64")
    large = tmp_path / "large.zip"
    large.write_bytes(b"")
    with large.open("r+b") as stream:
        stream.truncate(MAX_FILE + 1)
    with pytest.raises(sysgym.InvalidSolution, match="larger than the 33554432 bytes"):
        read_submission(large)
    with pytest.raises(sysgym.UsageError, match="cannot read the submission"):
        read_submission(tmp_path / "absent.zip")
    with pytest.raises(sysgym.UsageError, match="cannot read the submission"):
        read_submission(tmp_path)


def moved(data: bytes, front: bytes) -> bytes:
    """Bytes before the zip, with every offset in its directory corrected for them."""
    found, place = bytearray(data), data.index(b"PK\x01\x02")
    count, start = int.from_bytes(data[-12:-10], "little"), place
    for _ in range(count):
        offset = int.from_bytes(found[place + 42 : place + 46], "little") + len(front)
        found[place + 42 : place + 46] = offset.to_bytes(4, "little")
        place += 46 + sum(int.from_bytes(found[place + at : place + at + 2], "little") for at in (28, 30, 32))
    found[-6:-2] = (start + len(front)).to_bytes(4, "little")
    return front + bytes(found)


@pytest.mark.parametrize("front", [b"x", b"#!/bin/sh\nexit 1\n", b"PK\x03\x04" + bytes(26), bytes(10**6)])
def test_bytes_before_the_zip_are_refused(packed: bytes, front: bytes) -> None:
    for data in (front + packed, moved(packed, front)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None  # Python's reader takes it
        refused(data, "it must begin with its first member")


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "it ran"))


def test_pickles_never_run(edited: Edited, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = pickle.dumps(Marker(marker))
    in_array = npy(np.array([Marker(marker)], dtype=object), allow_pickle=True)
    for data in (evil, in_array):
        refused(edited(with_array(data), members={FIRST: data}), "no usable .npy array")
    refused(edited(members={"submission.json": evil}), "submission.json")
    assert not marker.exists()
    pickle.loads(evil)
    assert marker.exists()  # the trap works


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array([0.0, np.nan]), "not finite"),
        (np.array([0.0, -np.inf]), "not finite"),
        (np.array([True, False]), "expected integers or floats"),
        (np.array(["a"]), "expected integers or floats"),
        (np.array([1 + 2j]), "expected integers or floats"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "expected integers or floats"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "expected integers or floats"),
    ],
)
def test_arrays_of_other_types_are_refused(edited: Edited, array: Any, sentence: str) -> None:
    data = npy(array)
    refused(edited(with_array(data), members={FIRST: data}), sentence)


def header(text: str, version: int = 1) -> bytes:
    raw = text.encode() + b"\n"
    size = len(raw).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw


@pytest.mark.parametrize(
    "data",
    [
        header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"),
        header("{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"x" * 8,
        header("{'descr': '<i8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }"),
        header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }") + b"x" * 8,
        header("{"),
        header("(" * 9000),
        header("-" * 9000),
        header("[" * 200 + "]" * 200),
        header("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 0" + ", 9" * 200 + "), }"),
        header("x" * 20000, version=2),
        header("{}", version=9),
        b"\x93NUMPY",
        b"",
    ],
)
def test_malformed_npy_headers_are_refused(edited: Edited, data: bytes) -> None:
    refused(edited(with_array(data), members={FIRST: data}), "part.npy")
    with pytest.raises(sysgym.InvalidSolution) as caught:
        parse_npy(data)
    reason = str(caught.value).removeprefix("this is no usable .npy array: ")
    assert any(letter.isalpha() for letter in reason)


def test_a_float_too_large_for_64_bits_is_refused() -> None:
    """A wider float may be finite and yet become infinite."""
    spec = {"x": sysgym.ArraySpec((1,), "float", -np.inf, np.inf, "anything")}
    large = np.array([np.longdouble("1e4000")])
    assert np.isfinite(large).all() or np.finfo(np.longdouble).bits == 64
    for array in (large, -large, parse_npy(npy(large))):
        with pytest.raises(sysgym.InvalidSolution, match="holds values that are not finite"):
            check_arrays(spec, {"x": array})
    assert check_arrays(spec, {"x": np.array([np.longdouble("1e300")])})["x"].tolist() == [1e300]
    assert check_arrays(spec, [3])["x"].dtype == np.float64


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000 + "]" * 100_000, "no valid JSON"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[1e999]", "not finite"),
        ("[" + "9" * 5000 + "]", "no valid JSON"),
        ("[99999999999999999999999]", "type object"),
        ("[18446744073709551615, -1]", "type"),
        ("[[1], [1, 2]]", "no usable array"),
        ("[true, false]", "type bool"),
        ('["1"]', "type"),
        ("[null]", "type object"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ("[" * 70 + "]" * 70, "array"),
        ("", "no valid JSON"),
    ],
)
def test_malformed_json_arrays_are_refused(edited: Edited, text: str, sentence: str) -> None:
    data = text.encode()
    made = edited(with_array(data, "part.json"), members={FIRST: None, "solutions/0/0/part.json": data})
    if text == "[18446744073709551615, -1]":  # numpy makes floats of it; the judge wants integers
        assert read_bytes(made).answers["tiny/delaunay-test", 0].arrays["part"].dtype.kind in "fO"
    else:
        refused(made, sentence)


def setter(*path: Any) -> Callable[[dict[str, Any]], None]:
    *keys, last, value = path

    def change(manifest: dict[str, Any]) -> None:
        item: Any = manifest
        for key in keys:
            item = item[key]
        item[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.pop("agent"), "the key 'agent' is missing"),
        (lambda m: m.update(extra=1), "the key 'extra' is unknown"),
        (lambda m: m.update(answers=[*m["answers"], m["answers"][0]]), "answered twice"),
        (lambda m: m.update(answers=m["answers"][1:]), "does not list"),
        (lambda m: m["answers"].append({**m["answers"][0], "seed": 1}), "the zip does not hold"),
        (lambda m: m["instances"].append(m["instances"][0]), "listed twice"),
        (lambda m: m["instances"].clear(), "instances must be a list"),
        (setter("schema", "sysgym-submission/2"), "schema must be 'sysgym-submission/1'"),
        (setter("board_hash", "ABC"), "board_hash must be 64 hexadecimal digits"),
        (setter("agent", ""), "agent must be"),
        (setter("agent", "a\u202eb"), "agent must be"),
        (setter("agent", "x" * 81), "agent must be"),
        (setter("agent", ["x"]), "agent must be"),
        (setter("authors", "me"), "authors must be"),
        (setter("code", "javascript:alert(1)"), "code must be"),
        (setter("code", 'https://x/"onload="y'), "code must be"),
        (setter("threads", True), "threads must be"),
        (setter("threads", 0), "threads must be"),
        (setter("created", "yesterday"), "created must be"),
        (setter("created", "9999-99-99T99:99:99Z"), "created must be a date like"),
        (setter("created", "2026-02-29T12:00:00Z"), "created must be"),
        (setter("created", "2026-01-31T24:00:00Z"), "created must be"),
        (setter("created", "2026-01-31T12:00:60Z"), "created must be"),
        (setter("created", "2026-1-31T12:00:00Z"), "created must be"),
        (setter("options", []), "options must be"),
        (setter("answers", 0, "seed", True), "seed must be"),
        (setter("answers", 0, "seed", 0.0), "seed must be"),
        (setter("answers", 0, "seed", -1), "seed must be"),
        (setter("answers", 0, "instance", 4), "an answer is for instance 4, but 4 are listed"),
        (setter("answers", 0, "cost", "12"), "cost must be"),
        (setter("answers", 0, "cost", True), "cost must be"),
        (setter("answers", 0, "seconds", -1), "seconds must be"),
        (setter("answers", 0, "evaluations", 1.5), "evaluations must be"),
        (setter("answers", 0, "files", {}), "files must be"),
        (setter("answers", 0, "files", {"../x.npy": "0" * 64}), "files must be"),
        (setter("answers", 0, "files", {"part.npy": "0" * 64}), "does not have the sha256"),
        (setter("answers", 0, None, 1), "unknown"),
    ],
)
def test_malformed_manifests_are_refused(edited: Edited, change: Any, sentence: str) -> None:
    refused(edited(change), sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "is a list, expected an object"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ("[" * 100_000, "no valid JSON"),
        ('{"cost": NaN}', "NaN is not a JSON number"),
        ('{"cost": ' + "1" * 5000 + "}", "no valid JSON"),
        ("\x00{}", "no valid JSON"),
        ("", "no valid JSON"),
    ],
)
def test_malformed_manifest_text_is_refused(edited: Edited, text: str, sentence: str) -> None:
    refused(edited(members={"submission.json": text.encode()}), sentence)


def test_a_zip_without_manifest_is_refused(edited: Edited) -> None:
    refused(edited(members={"submission.json": None}), "holds no submission.json")


def test_an_array_given_twice_is_refused(edited: Edited) -> None:
    data = json.dumps([0] * 64).encode()

    def change(manifest: dict[str, Any]) -> None:
        manifest["answers"][0]["files"]["part.json"] = hashlib.sha256(data).hexdigest()

    refused(edited(change, members={"solutions/0/0/part.json": data}), "given twice")


def test_damaged_bytes_give_our_error_only(packed: bytes) -> None:
    rng = random.Random(0)
    kept = 0
    for _ in range(1500):
        data = bytearray(packed)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_bytes(bytes(data))
            kept += 1
        except sysgym.InvalidSolution:
            pass
    assert kept < 750  # dates and attributes may change unseen, contents may not


def test_deflate_garbage_is_refused() -> None:
    info = zipfile.ZipInfo("submission.json")
    info.compress_type = zipfile.ZIP_DEFLATED
    content = b"a" * 200
    data = raw_zip([(info, content)])
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(content) + packer.flush()
    refused(data.replace(body, b"\xff" * len(body)), "damaged")
