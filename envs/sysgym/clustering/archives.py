"""Points in `.npz` archives: `x` of numpy, or a sparse matrix of scipy. Nothing else in them is unpacked."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_npz

LARGEST = 2**30  # bytes of an archive, unpacked
MEMBERS = {"csr": ("data", "indices", "indptr", "shape"), "csc": ("data", "indices", "indptr", "shape"),
           "coo": ("data", "row", "col", "shape")}  # fmt: skip


def read_archive(path: str, data: bytes) -> Any:
    """The array `x` or the sparse matrix of an archive, else UsageError. Labels beside `x` are not even read."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "x" in names:
            return _arrays(archive, ["x"])["x"]
        form = _format(archive) if "format" in names else ""
        if form in MEMBERS and set(MEMBERS[form]) <= set(names):
            return _sparse(form, _arrays(archive, MEMBERS[form]))
    known = (
        f"a sparse matrix of the format {form!r}" if form else f"the arrays {', '.join(sorted(names)[:12]) or 'none'}"
    )
    raise UsageError(
        f"{path} has {known}; expected 'x', points (n, d) or images (n, height, width), or a sparse matrix that "
        f"scipy.sparse.save_npz wrote ({', '.join(MEMBERS)})."
    )


def _arrays(archive: zipfile.ZipFile, wanted: Any) -> dict[str, Array]:
    """Some arrays of an archive, as `parse_npz` reads them."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as small:
        for member in archive.infolist():
            if member.filename.removesuffix(".npy") in wanted:
                with archive.open(member) as stream:
                    content = stream.read(LARGEST + 1)
                if len(content) > LARGEST:
                    raise UsageError(f"its array {member.filename} unpacks to more than {LARGEST} bytes.")
                small.writestr(f"{len(small.namelist())}/{member.filename}", content)
    arrays = parse_npz(kept.getvalue(), LARGEST)
    found = {name.split("/", 1)[1]: array for name, array in arrays.items()}
    if len(found) < len(arrays):
        raise UsageError(f"it holds {', '.join(found)} more than once.")
    return found


def _format(archive: zipfile.ZipFile) -> str:
    """The format of the sparse matrix in an archive, as scipy calls it."""
    with archive.open("format.npy") as stream:
        name = np.lib.format.read_array(stream, allow_pickle=False).item()
    return name.decode("ascii") if isinstance(name, bytes) else str(name)


def _sparse(form: str, arrays: dict[str, Array]) -> Any:
    from scipy import sparse

    shape = tuple(int(side) for side in arrays["shape"])
    if form == "coo":
        return sparse.coo_array((arrays["data"], (arrays["row"], arrays["col"])), shape)
    make = sparse.csr_array if form == "csr" else sparse.csc_array
    matrix = make((arrays["data"], arrays["indices"], arrays["indptr"]), shape)
    matrix.check_format(full_check=True)
    return matrix
