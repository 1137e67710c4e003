"""Where the bytes of an instance come from: the wheel, the folder named by SYSGYM_DATA, the cache, a download.

Checksums are taken over the uncompressed bytes, so a file may lie gzipped in one place and plain in another.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import os
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sysgym.core.errors import SysgymError, UsageError, reading

ENVIRONMENT_VARIABLE = "SYSGYM_DATA"
HEAD = 4096  # bytes by which the format of a file is told
MAX_FILE = 2**30  # bytes of a file, unpacked if it is gzipped
FREE, MAX_RATIO = 64 * 2**20, 100  # a gzipped file may unpack to so many bytes, a large one to so many times its size


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


def read_file(path: Path, limit: int = MAX_FILE, too_large: type[SysgymError] = UsageError) -> bytes:
    """The bytes of a file as it is; UsageError if it cannot be read, `too_large` if it holds more than `limit`."""
    with reading(path), path.open("rb") as stream:
        large = os.fstat(stream.fileno()).st_size > limit
        data = b"" if large else stream.read(limit + 1)
    if large or len(data) > limit:
        raise too_large(f"{path} is larger than the {limit} bytes that are read of such a file.")
    return data


def decompress(name: str, data: bytes) -> bytes:
    """The content of a file that may be gzipped (by its first bytes); UsageError if it is damaged or unpacks to more
    than a file may hold."""
    if data[:2] != b"\x1f\x8b":
        return data
    limit = min(MAX_FILE, max(FREE, MAX_RATIO * len(data)))
    content = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while content.tell() <= limit and content.write(stream.read(2**20)):
                pass
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UsageError(f"{name} is a damaged gzip file: {str(error).rstrip('.')}.") from error
    if content.tell() > limit:
        raise UsageError(
            f"{name} unpacks to more than {limit} bytes from {len(data)}; unpack it by hand if that is what it holds."
        )
    return content.getvalue()


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, unpacked if it is gzipped; UsageError if it cannot be read."""
    return as_text(path, decompress(str(path), read_file(Path(path))))


def as_text(source: str | Path, data: bytes) -> str:
    """The text of a file's bytes in UTF-8, a byte order mark passed over; UsageError names the line that is none."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{source}: its byte order mark says UTF-16; save the file as UTF-8.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{source}, line {line}: a byte that is no text in UTF-8; is the file damaged?") from error


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
    content = decompress(str(path), read_file(path))
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

    pooch.get_logger().setLevel("WARNING")
    target = cache_folder() / file.topic / file.path.removesuffix(".gz")
    try:
        pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=target.name, path=target.parent)
    except ValueError as error:
        raise UsageError(f"{file.url} has other content than its checksum promises; nothing was kept.") from error
    except OSError as error:  # offline, most often: the libraries below tell it in a paragraph
        host = file.url.split("/")[2]
        raise UsageError(
            f"{host} cannot be reached ({type(error).__name__}); fetch {file.url} elsewhere and put it at {target}."
        ) from error
    return target


def first_bytes(word: str) -> bytes:
    """How a file starts, unzipped; nothing where there is none. A pipe is left alone: its bytes come only once."""
    if not os.path.isfile(word):
        return b""
    try:
        with open(word, "rb") as stream:
            data = stream.read(HEAD)
        return zlib.decompressobj(47).decompress(data, HEAD) if data[:2] == b"\x1f\x8b" else data
    except (OSError, ValueError, zlib.error):
        return b""


def files_behind(word: str) -> list[str] | None:
    """The regular files in a folder, or that a glob matches, by name; None for a word that is neither."""
    if len(word) >= 1024 or "\0" in word:
        return None
    if os.path.isdir(word):
        found = glob.glob(os.path.join(glob.escape(word), "*"))
    elif set("*?[") & set(word) and not os.path.exists(word):
        found = glob.glob(word)
    else:
        return None
    return sorted(file for file in found if os.path.isfile(file))
