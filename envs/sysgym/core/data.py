"""Where the bytes of an instance come from: the wheel, the folder named by SYSGYM_DATA, the cache, a download.

Checksums are taken over the uncompressed bytes, so a file may lie gzipped in one place and plain in another.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sysgym.core.errors import UsageError

ENVIRONMENT_VARIABLE = "SYSGYM_DATA"


@dataclass(frozen=True)
class DataFile:
    """One file of an instance set, as the index describes it."""

    topic: str  # folder of the problem, "partitioning"
    path: str  # below the topic's folder, "walshaw/add20.graph.gz"
    sha256: str  # of the uncompressed bytes
    embedded: bool
    url: str = ""


def cache_folder() -> Path:
    """The platform's cache folder for downloaded data."""
    from platformdirs import user_cache_path

    return user_cache_path("sysgym") / "data"


def decompress(name: str, data: bytes) -> bytes:
    """The content of a file that may be gzipped (by its first bytes); UsageError if it is damaged."""
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name} is a damaged gzip file: {error}.") from error


def candidates(file: DataFile) -> list[Path]:
    """Places where the file may lie, best first."""
    if file.embedded:
        return [Path(str(files("sysgym") / "data" / file.topic / file.path))]
    roots = [Path(os.environ[ENVIRONMENT_VARIABLE])] if os.environ.get(ENVIRONMENT_VARIABLE) else []
    roots.append(cache_folder())
    return [root / file.topic / path for root in roots for path in (file.path, file.path.removesuffix(".gz"))]


def find(file: DataFile) -> Path | None:
    """Path of the file if it is on this machine, without any download."""
    return next((path for path in candidates(file) if path.is_file()), None)


def read(file: DataFile) -> bytes:
    """Uncompressed content, checked against the checksum; UsageError names the command that fetches it."""
    path = find(file)
    if path is None:
        get = f"run `sysgym data get {file.path.split('/')[0]}` or " if file.url else ""
        raise UsageError(
            f"{file.path} is not on this machine; {get}let {ENVIRONMENT_VARIABLE} name a folder that holds "
            f"{file.topic}/{file.path}."
        )
    content = decompress(str(path), path.read_bytes())
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise UsageError(
            f"{path} has the checksum {found[:12]}..., expected {file.sha256[:12]}...; delete it and fetch it again."
        )
    return content


def download(file: DataFile) -> Path:
    """Fetch a public file into the cache folder, unless it is there already. Checked against its checksum."""
    here = find(file)
    if here is not None:
        read(file)
        return here
    if not file.url:
        raise UsageError(f"{file.path} has no public address; put it below {ENVIRONMENT_VARIABLE} by hand.")
    import pooch

    target = cache_folder() / file.topic / file.path.removesuffix(".gz")
    try:
        pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=target.name, path=target.parent)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot fetch {file.url}: {error}") from error
    return target
