"""Parsed netlists kept in the cache folder, for a text protobuf of 40,000 nodes takes most of a second to read.

A kept netlist carries a digest of its arrays, of the file that it was parsed from and of the code that parsed it: one
that was changed, renamed or written by other code is parsed anew.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.chip_placement.formats import comments, graphdef, textproto
from sysgym.chip_placement.formats import netlist as parser
from sysgym.chip_placement.formats.netlist import CELL, ORIENTATIONS, Netlist, name_of, parse_netlist
from sysgym.core import data
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_npz

DIGEST = "digest"
TEXTS = ("names", "comments", "remarks")
_ARRAYS = tuple(item.name for item in fields(Netlist) if item.name not in ("name", *TEXTS))


def read_netlist_cached(path: str | Path) -> Netlist:
    """As `read_netlist`, but parses a file of the same content only once on this machine.

    A cache that is damaged or changed is written anew; one that cannot be written is done without.
    """
    path = Path(path)
    content = data.read_file(path)
    key = hashlib.sha256(content).digest()
    kept = data.cache_folder().parent / "parsed" / f"{key.hex()}-{parser_hash()[:16]}.npz"
    netlist = _load(kept, key, name_of(path))
    if netlist is None:
        netlist = parse_netlist(data.as_text(path, data.decompress(str(path), content)), name_of(path), path)
        _store(kept, key, netlist)
    return netlist


@cache
def parser_hash() -> str:
    """SHA-256 of the code that makes a Netlist of a file, and of this module."""
    found = hashlib.sha256()
    for module in (*(str(code.__file__) for code in (parser, comments, graphdef, textproto, data)), __file__):
        found.update(Path(module).read_bytes())
    return found.hexdigest()


def _digest(key: bytes, arrays: Mapping[str, Array]) -> Array:
    """SHA-256 of kept arrays, of the file that they are of and of the parser, (32,) uint8."""
    found = hashlib.sha256(key + parser_hash().encode())
    for name in (*_ARRAYS, *TEXTS):
        found.update(f"|{name}:{arrays[name].dtype.str}{arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(found.digest(), np.uint8)


def _load(kept: Path, key: bytes, name: str) -> Netlist | None:
    """The netlist of a cache file; None if there is none, or it is not what was stored."""
    try:
        arrays = parse_npz(data.read_file(kept), data.MAX_FILE)
        if not np.array_equal(arrays[DIGEST], _digest(key, arrays)):
            return None
        kept_fields: dict[str, Any] = {key: _texts(arrays[key]) for key in TEXTS}
        kept_arrays: dict[str, Any] = {key: arrays[key] for key in _ARRAYS}
        netlist = Netlist(name=name, **kept_fields, **kept_arrays)
        return netlist if _holds(netlist) else None
    except (UsageError, ValueError, KeyError, TypeError, IndexError):
        return None


def _texts(kept: Array) -> tuple[str, ...]:
    return tuple(kept.tobytes().decode().split("\n")) if len(kept) else ()


def _holds(netlist: Netlist) -> bool:
    """Whether the indices of a netlist are those of its nodes, so that kernels stay within their arrays."""
    nodes = len(netlist.names)
    rows = (netlist.kind, netlist.width, netlist.height, netlist.x, netlist.y, netlist.orientation, netlist.parent,
            netlist.x_offset, netlist.y_offset)  # fmt: skip
    return (
        all(row.shape == (nodes,) for row in rows)
        and netlist.ptr.shape == (netlist.nets + 1,)
        and netlist.ptr[0] == 0
        and netlist.ptr[-1] == len(netlist.pins)
        and bool((np.diff(netlist.ptr) >= 0).all())
        and _within(netlist.pins, nodes)
        and _within(netlist.parent, nodes)
        and _within(netlist.kind, CELL + 1)
        and _within(netlist.orientation, len(ORIENTATIONS))
    )


def _within(values: Array, count: int) -> bool:
    return not len(values) or bool(values.min() >= 0 and values.max() < count)


def _store(kept: Path, key: bytes, netlist: Netlist) -> None:
    """Write a cache file at once or not at all; a folder that cannot be written is no error."""
    arrays = {name: getattr(netlist, name) for name in _ARRAYS}
    arrays |= {key: np.frombuffer("\n".join(getattr(netlist, key)).encode(), np.uint8) for key in TEXTS}
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=kept.parent, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **{DIGEST: _digest(key, arrays)}, **arrays)  # type: ignore[arg-type]
        os.replace(part, kept)
    except OSError:
        Path(part).unlink(missing_ok=True)
