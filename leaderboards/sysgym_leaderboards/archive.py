"""Zip files from strangers: read in memory within limits, never extracted."""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from sysgym.core.errors import InvalidSolution, UsageError

MAX_FILE = 32 * 2**20  # bytes of the zip
MAX_UNPACKED = 256 * 2**20  # bytes of all members together
MAX_JSON = 16 * 2**20  # bytes of one JSON member
MAX_MEMBERS = 5000
MANIFEST = "submission.json"
ARRAY_FILE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}\.(npy|json)")
_NUMBER = "(0|[1-9][0-9]{0,8})"
AGENT_FILE = re.compile(r"agent\.json|options\.json|model\.safetensors")
_SOLUTION = rf"solutions/{_NUMBER}/{_NUMBER}/{ARRAY_FILE.pattern}"
_MEMBER = re.compile(rf"submission\.json|agent/({AGENT_FILE.pattern})|{_SOLUTION}")


def write_zip(members: Mapping[str, bytes]) -> bytes:
    """The zip file of some members; the same members give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # no clock: the same content is the same file
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return stream.getvalue()


def read_file_limited(path: str | Path) -> bytes:
    """The bytes of a submission file, at most MAX_FILE of them."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read the submission {path}: {error.strerror or error}.") from error
    check_size(data)
    return data


def check_size(data: bytes) -> None:
    """Refuse what is larger than MAX_FILE."""
    if len(data) > MAX_FILE:
        raise InvalidSolution(f"the submission is larger than the {MAX_FILE} bytes that a board takes.")


def _check_directory(data: bytes) -> None:
    """Refuse what cannot be a small plain zip before its directory is parsed."""
    check_size(data)
    end = data[-22:]
    if len(end) < 22 or end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise InvalidSolution("this is no plain zip file (it must end with its directory and carry no comment).")
    count, size = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if data[-42:-38] == b"PK\x06\x07":
        raise InvalidSolution("this is a zip64 file; a submission is a plain zip.")
    if count > MAX_MEMBERS or size > MAX_MEMBERS * 256:
        raise InvalidSolution(
            f"the zip has {count} members in {size} bytes of directory, at most {MAX_MEMBERS} are taken."
        )


def read_zip(data: bytes) -> dict[str, bytes]:
    """Contents by member name; InvalidSolution says which rule the file breaks."""
    _check_directory(data)
    found: dict[str, bytes] = {}
    left = MAX_UNPACKED
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_MEMBERS:
                raise InvalidSolution(f"the zip has {len(infos)} members, at most {MAX_MEMBERS} are taken.")
            if infos and min(info.header_offset for info in infos) != 0:
                raise InvalidSolution("this is no plain zip file (it must begin with its first member).")
            for info in infos:
                _check_member(info)
                if info.filename in found:
                    raise InvalidSolution(f"the zip holds {info.filename!r} twice.")
                found[info.filename] = _unpack(archive, info, left)
                left -= len(found[info.filename])
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        EOFError,
        RuntimeError,
        ValueError,
        OSError,
    ) as error:
        if isinstance(error, InvalidSolution):
            raise
        raise InvalidSolution(f"the zip file is damaged: {str(error) or type(error).__name__}.") from error
    return found


def _check_member(info: zipfile.ZipInfo) -> None:
    shown = repr(info.orig_filename[:80])
    if info.orig_filename != info.filename or not _MEMBER.fullmatch(info.filename):
        raise InvalidSolution(
            f"the zip holds {shown}; expected only {MANIFEST} and solutions/<instance>/<seed>/<array>.npy (or .json), "
            "or agent/agent.json, agent/options.json and agent/model.safetensors."
        )
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise InvalidSolution(f"the member {shown} is a link or a special file, expected a regular file.")
    if info.flag_bits & 0x1:
        raise InvalidSolution(f"the member {shown} is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidSolution(f"the member {shown} is compressed by method {info.compress_type}, expected deflate.")


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> bytes:
    """The content of one member, counted while it streams; sizes in headers are not believed."""
    limit, what = (left, f"all members unpack to more than {MAX_UNPACKED}")
    if info.filename.endswith(".json") and left > MAX_JSON:
        limit, what = MAX_JSON, f"{info.filename!r} unpacks to more than {MAX_JSON}"
    chunks, size = [], 0
    with archive.open(info) as stream:
        while chunk := stream.read(min(2**20, limit + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise InvalidSolution(f"{what} bytes.")
    return b"".join(chunks)
