"""Parsed netlists kept in the cache folder, for a text protobuf of 40,000 nodes takes most of a second to read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np

from sysgym.chip_placement.formats.netlist import Netlist, parse_netlist, read_text
from sysgym.core import data
from sysgym.core.errors import UsageError

VERSION = 1  # raise it when the arrays of a Netlist change meaning
_ARRAYS = tuple(item.name for item in fields(Netlist) if item.name not in ("name", "names"))


def read_netlist_cached(path: str | Path) -> Netlist:
    """As `read_netlist`, but parses a file of the same content only once on this machine.

    A cache that is damaged is written anew; one that cannot be written is done without.
    """
    path = Path(path)
    name = path.name.split(".")[0] if path.parent.name == "" else path.parent.name
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    kept = data.cache_folder().parent / "parsed" / f"{digest}-{VERSION}.npz"
    netlist = _load(kept, name)
    if netlist is None:
        netlist = parse_netlist(read_text(path), name, path)
        _store(kept, netlist)
    return netlist


def _load(kept: Path, name: str) -> Netlist | None:
    """The netlist of a cache file; None if there is none or it is damaged."""
    try:
        with kept.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {key: file[key] for key in _ARRAYS}
            names = tuple(file["names"].tobytes().decode().split("\n"))
    except Exception:  # a damaged archive provokes nearly any
        return None
    return Netlist(name=name, names=names, **arrays) if len(names) == len(arrays["kind"]) else None


def _store(kept: Path, netlist: Netlist) -> None:
    """Write a cache file at once or not at all; a folder that cannot be written is no error."""
    arrays = {key: getattr(netlist, key) for key in _ARRAYS}
    names = np.frombuffer("\n".join(netlist.names).encode(), np.uint8)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=kept.parent, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, names=names, **arrays)
        os.replace(part, kept)
    except OSError:
        Path(part).unlink(missing_ok=True)
