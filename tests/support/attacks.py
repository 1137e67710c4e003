"""Forged, broken and hostile submissions: each makes a bad one of a valid one (bytes); and the words that refuse it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

BOARD = "partitioning-tiny-k2-v1"
FIRST = "solutions/0/0/part.npy"
MARKER = "SYSGYM_TEST_MARKER"  # names the file that an unpickled trap writes
SPRUNG = Path(os.environ.get(MARKER) or Path(tempfile.mkdtemp(), "marker"))  # the trap knows it: judges see no MARKER
Manifest = dict[str, Any]
Attack = Callable[[bytes], bytes]


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return (
            exec,
            (f"import pathlib; pathlib.Path({str(SPRUNG)!r}).write_text('it ran')",),
        )


def npy(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values))
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


TRAP = pickle.dumps(Trap())
OBJECTS = npy(np.array([Trap()], dtype=object))


def zipped(members: Mapping[str, bytes] | list[tuple[Any, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            archive.writestr(name, data)
    return stream.getvalue()


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(change: Callable[[Manifest, dict[str, bytes]], Any]) -> Attack:
    """Change the manifest (plain data) and the members of a submission."""

    def attack(good: bytes) -> bytes:
        members = unzipped(good)
        manifest = json.loads(members["submission.json"])
        change(manifest, members)
        members.setdefault("submission.json", b"")
        if members["submission.json"] == unzipped(good)["submission.json"]:
            members["submission.json"] = json.dumps(manifest).encode()
        return zipped(members)

    return attack


def setting(*path: Any) -> Attack:
    """Set one value of the manifest: keys, then the value."""
    *keys, last, value = path

    def change(manifest: Manifest, _: dict[str, bytes]) -> None:
        item: Any = manifest
        for key in keys:
            item = item[key]
        item[last] = value

    return rewrite(change)


def text(old: str, new: str) -> Attack:
    """Replace words in the text of the manifest."""

    def attack(good: bytes) -> bytes:
        members = unzipped(good)
        words = json.dumps(json.loads(members["submission.json"]))
        assert old in words
        return zipped({**members, "submission.json": words.replace(old, new, 1).encode()})

    return attack


def manifest_bytes(data: bytes) -> Attack:
    return lambda good: zipped({**unzipped(good), "submission.json": data})


def member(name: Any, data: bytes = b"x") -> Attack:
    """Add a member."""
    return lambda good: zipped([*unzipped(good).items(), (name, data)])


def first_array(data: bytes, file: str = "part.npy") -> Attack:
    """Replace the first answer's array; the manifest gives its true sha256."""

    def change(manifest: Manifest, members: dict[str, bytes]) -> None:
        del members[FIRST]
        members[f"solutions/0/0/{file}"] = data
        manifest["answers"][0]["files"] = {file: hashlib.sha256(data).hexdigest()}

    return rewrite(change)


def claim(factor: float) -> Attack:
    def change(manifest: Manifest, _: dict[str, bytes]) -> None:
        manifest["answers"][2]["cost"] *= factor

    return rewrite(change)


def special(kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("solutions/0/1/part.npy")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


def drop_last(manifest: Manifest, members: dict[str, bytes]) -> None:
    manifest["answers"].pop()
    del members["solutions/3/0/part.npy"]


def repeat_answer(manifest: Manifest, members: dict[str, bytes]) -> None:
    """The first answer again, where the last belongs."""
    manifest["answers"][3] = manifest["answers"][0]
    del members["solutions/3/0/part.npy"]


def extra_seed(manifest: Manifest, members: dict[str, bytes]) -> None:
    manifest["answers"].append({**manifest["answers"][0], "seed": 1})
    members["solutions/0/1/part.npy"] = members[FIRST]


def swap_hashes(manifest: Manifest, _: dict[str, bytes]) -> None:
    a, b = manifest["answers"][:2]
    a["files"], b["files"] = b["files"], a["files"]


def swap_solutions(manifest: Manifest, members: dict[str, bytes]) -> None:
    """The solutions of two instances of one size change places, files and hashes both."""
    other = "solutions/1/0/part.npy"
    members[FIRST], members[other] = members[other], members[FIRST]
    swap_hashes(manifest, members)


def swap_names(manifest: Manifest, _: dict[str, bytes]) -> None:
    a, b = manifest["instances"][:2]
    a["name"], b["name"] = b["name"], a["name"]


def flip_label(manifest: Manifest, members: dict[str, bytes]) -> None:
    """A better-looking cut: everything in one part, under the old claim."""
    data = npy(np.zeros(64, np.int64))
    members[FIRST] = data
    manifest["answers"][0]["files"] = {"part.npy": hashlib.sha256(data).hexdigest()}


def bomb(good: bytes) -> bytes:
    return zipped({**unzipped(good), FIRST: bytes(300 * 2**20)})


def lying_bomb(good: bytes) -> bytes:
    """Its headers claim 100 bytes."""
    data = zipped({"submission.json": bytes(20 * 2**20)})
    return data.replace((20 * 2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))


def many(good: bytes) -> bytes:
    """100,000 members."""
    return zipped([(f"solutions/{index}/0/a.npy", b"") for index in range(100_000)], zipfile.ZIP_STORED)


def encrypted(good: bytes) -> bytes:
    data = bytearray(good)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def commented(good: bytes) -> bytes:
    return good[:-2] + b"\x04\0evil"


def as_tar(good: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo("../submission.json")
        info.size = len(good)
        archive.addfile(info, io.BytesIO(good))
    return stream.getvalue()


def npy_header(words: str) -> bytes:
    raw = words.encode() + b"\n"
    return b"\x93NUMPY\x01\0" + len(raw).to_bytes(2, "little") + raw


ONES = [1] * 64
NAMES = "expected only submission.json and solutions/"
CASES: dict[str, tuple[Attack, str]] = {
    # values of a solution
    "nan": (first_array(npy(np.full(64, np.nan))), "not finite"),
    "infinity": (first_array(npy(np.full(64, np.inf))), "not finite"),
    "negative zero": (first_array(npy(-np.zeros(64))), "has type float64, expected int"),
    "float labels": (first_array(npy(np.ones(64))), "has type float64, expected int"),
    "float labels in JSON": (first_array(b"[" + b"0.0," * 63 + b"1.0]", "part.json"), "expected int"),
    "label out of range": (first_array(npy(np.full(64, 2))), "holds values from 2 to 2, expected 0 to 1"),
    "negative label": (first_array(npy(np.full(64, -1))), "holds values from -1"),
    "label of 2**64-1": (first_array(npy(np.full(64, 2**64 - 1, np.uint64))), "18446744073709551615"),
    "too short": (first_array(npy(np.zeros(63, int))), "has shape (63,), expected (64,)"),
    "too long": (first_array(npy(np.zeros(65, int))), "has shape (65,)"),
    "a matrix": (first_array(npy(np.zeros((8, 8), int))), "has shape (8, 8)"),
    "empty": (first_array(npy(np.zeros(0, int))), "has shape (0,)"),
    "bool as int": (first_array(npy(np.zeros(64, bool))), "type is bool"),
    "bool as int in JSON": (first_array(json.dumps([True] * 64).encode(), "part.json"), "type bool"),
    "text as int in JSON": (first_array(json.dumps(["1"] * 64).encode(), "part.json"), "expected integers"),
    "NaN in JSON": (first_array(b"[NaN]", "part.json"), "NaN is not a JSON number"),
    "overflow in JSON": (first_array(b"[1e999]", "part.json"), "not finite"),
    "huge integer in JSON": (first_array(b"[" + b"9" * 5000 + b"]", "part.json"), "no valid JSON"),
    "integer beyond 64 bits": (first_array(b"[" + b"9" * 30 + b"]", "part.json"), "type object"),
    "unicode digits in JSON": (first_array("[١, ٢]".encode(), "part.json"), "no valid JSON"),
    "ragged": (first_array(b"[[1], [1, 2]]", "part.json"), "no usable array"),
    "deep nesting": (first_array(b"[" * 100_000 + b"]" * 100_000, "part.json"), "no valid JSON"),
    "duplicate keys in an array": (first_array(b'{"a": 1, "a": 2}', "part.json"), "occurs twice"),
    "another array": (first_array(npy(ONES), "colour.npy"), "expected the arrays part, got colour"),
    "header claims terabytes": (
        first_array(npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }")),
        "no usable .npy array",
    ),
    "code in a header": (
        first_array(npy_header("{'descr': '<i8', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }")),
        "no usable .npy array",
    ),
    "mutated solution, old claim": (rewrite(flip_label), "the claimed cost is 91.0, but it was judged 0.0"),
    "solutions swapped": (rewrite(swap_solutions), "the claimed cost is"),
    # claims
    "claim too good": (claim(0.5), "tiny/geometric-test seed 0: the claimed cost is"),
    "claim a trifle too good": (claim(1 - 3e-9), "the claimed cost is"),
    "claim of minus zero": (claim(-0.0), "the claimed cost is -0.0"),
    "claim is NaN": (text('"cost": ', '"cost": NaN, "x": '), "NaN is not a JSON number"),
    "claim is infinite": (text('"cost": ', '"cost": Infinity, "x": '), "Infinity is not a JSON number"),
    "claim is true": (setting("answers", 0, "cost", True), "cost must be"),
    "claim in unicode digits": (setting("answers", 0, "cost", "٢٣"), "cost must be"),
    "claim is a huge integer": (setting("answers", 0, "cost", 10**400), "cost must be"),
    "accepted by itself": (setting("accepted", True), "the key 'accepted' is unknown"),
    "scored by itself": (setting("answers", 0, "score", 0.1), "the key 'score' is unknown"),
    "feasible by itself": (setting("answers", 0, "feasible", True), "the key 'feasible' is unknown"),
    # which board, which instances
    "missing instance": (rewrite(drop_last), "3 of 4 (instance, seed) pairs are answered"),
    "duplicated answer": (rewrite(repeat_answer), "answered twice"),
    "duplicated instance": (rewrite(lambda m, _: m["instances"].append(m["instances"][0])), "listed twice"),
    "unlisted instance index": (setting("answers", 0, "instance", 9), "for instance 9, but 4 are listed"),
    "a seed too many": (rewrite(extra_seed), "the board does not ask for tiny/delaunay-test seed 1"),
    "seed is true": (setting("answers", 0, "seed", True), "seed must be"),
    "wrong board version": (setting("board", "partitioning-tiny-k2-v2"), "for the board 'partitioning-tiny-k2-v2'"),
    "another board": (setting("board", "partitioning-delaunay-k4-v1"), "for the board 'partitioning-delaunay-k4-v1'"),
    "board is a file": (setting("board", "../mine-v1.toml"), "board must be the id of a board"),
    "stale board": (setting("board_hash", "0" * 64), "made for other rules"),
    "float for an integer option": (setting("options", "k", 2.0), "the board asks for"),
    "looser balance": (setting("options", "eps", 0.5), "the board asks for"),
    "true for one": (setting("options", {"k": 2, "eps": 0.03, "mode": True}), "the board asks for"),
    "another problem": (setting("problem", "Clustering-v0"), "the submission solves Clustering-v0"),
    "stale instance hash": (setting("instances", 0, "hash", "0" * 64), "was solved on other data"),
    "instances swapped": (rewrite(swap_names), "was solved on other data"),
    "training instance": (setting("instances", 0, "name", "tiny/delaunay-train"), "3 of 4 (instance, seed) pairs"),
    # hashes and files of the zip
    "sha256 swapped": (rewrite(swap_hashes), "does not have the sha256"),
    "solution swapped past its sha256": (
        rewrite(lambda _, members: members.update({FIRST: npy(ONES)})), "does not have the sha256",
    ),
    "file not in the manifest": (member("solutions/9/9/part.npy"), "which submission.json does not list"),
    "file not in the zip": (rewrite(lambda _, members: members.pop(FIRST)), "which the zip does not hold"),
    "path out of the folder": (member("../../escape.npy"), NAMES),
    "absolute path": (member("/etc/cron.d/x"), NAMES),
    "path of another system": (member("C:\\x.npy"), NAMES),
    "unicode digits in a path": (member("solutions/٣/0/part.npy"), NAMES),
    "nested zip": (member("nested.zip", zipped({"a": b"b"})), NAMES),
    "symbolic link": (member(special(stat.S_IFLNK), b"/etc/passwd"), "a link or a special file"),
    "device": (member(special(stat.S_IFCHR)), "a link or a special file"),
    "duplicate member": (member("submission.json", b"{}"), "'submission.json' twice"),
    "encrypted": (encrypted, "encrypted"),
    "other compression": (lambda good: zipped(unzipped(good), zipfile.ZIP_BZIP2), "expected deflate"),
    "zip bomb": (bomb, "unpack to more than 268435456 bytes"),
    "zip bomb that lies": (lying_bomb, ""),
    "100,000 members": (many, "zip"),
    "cut off": (lambda good: good[: len(good) // 2], "no plain zip file"),
    "appended": (lambda good: good + b"x", "no plain zip file"),
    "prepended": (lambda good: b"#!/bin/sh\n" + good, "no plain zip file"),
    "comment": (commented, "no plain zip file"),
    "empty file": (lambda _: b"", "no plain zip file"),
    "text": (lambda _: b"hello" * 100, "no plain zip file"),
    "gzip": (gzip.compress, "no plain zip file"),
    "tar": (as_tar, "no plain zip file"),
    "too large": (lambda good: bytes(33 * 2**20) + good, "larger than"),
    # the manifest
    "no manifest": (lambda good: zipped({FIRST: unzipped(good)[FIRST]}), "holds no submission.json"),
    "manifest is a list": (manifest_bytes(b"[]"), "is a list, expected an object"),
    "duplicate keys": (text('"agent": ', '"agent": "x", "agent": '), "occurs twice"),
    "deep manifest": (manifest_bytes(b"[" * 100_000), "no valid JSON"),
    "a date that does not exist": (setting("created", "9999-99-99T99:99:99Z"), "created must be"),
    "key missing": (rewrite(lambda m, _: m.pop("licence")), "the key 'licence' is missing"),
    "agent turns the text round": (setting("agent", "a\u202eb"), "agent must be"),
    "script as address": (setting("code", "javascript:alert(1)"), "code must be"),
    # pickles
    "pickle as zip": (lambda _: TRAP, "no plain zip file"),
    "pickle as manifest": (manifest_bytes(TRAP), "submission.json"),
    "pickle as JSON array": (first_array(TRAP, "part.json"), "no valid JSON"),
    "pickle as npy": (first_array(TRAP), "no usable .npy array"),
    "objects in npy": (first_array(OBJECTS), "no usable .npy array"),
    "npz as npy": (first_array(npz(part=np.array([Trap()], dtype=object))), "no usable .npy array"),
    "pkl member": (member("solutions/0/0/part.pkl", TRAP), NAMES),
    "npz member": (member("solutions/0/0/part.npz", npz(part=np.array([Trap()], dtype=object))), NAMES),
    "model member": (member("model.safetensors", TRAP), NAMES),
    "torch member": (member("policy.pth", zipped({"archive/data.pkl": TRAP})), NAMES),
}  # fmt: skip
