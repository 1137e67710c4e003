"""Reader and writer of workloads: JSON of the format `sysgym.workload/1`, gzipped or not.

`tensors.elems` are elements of an item; `regions` is a list of objects with `name`, `kind` (a word), `reads` and
`writes` (rows of the tensors; of a product of two activations the moving one first, then the stationary one),
`vec_ops`, `weights` (elements) and the sizes `G H W P Q C K R S stride steps`; what is left out of the last thirteen is
0 or, of sizes, 1. Regions stand in the order in which they run. `params` counts all values of the model.
"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.accelerator_design.instance import BMM, COLUMNS, KINDS, SOFTMAX, VECTOR, Workloads
from sysgym.accelerator_design.workloads.builder import MOST, MOST_MACS
from sysgym.core.data import decompress, read_file
from sysgym.core.errors import UsageError, reading, shortened, unknown
from sysgym.core.solutions import parse_json

FORMAT = "sysgym.workload/1"
KEYS = ("format", "name", "source", "params", "tensors", "regions")
WORDS = ("name", "kind", "reads", "writes", "vec_ops", "weights", *COLUMNS)
MOST_REGIONS = 2**16


def is_workload_file(name: str, head: bytes) -> bool:
    """Whether the head of a JSON file says that it is a workload."""
    return name.lower().removesuffix(".gz").endswith(".json") and b'"sysgym.workload/' in head


def read_workload(path: Path) -> Workloads:
    """A workload from a file; UsageError names the region and what is wrong with it."""
    name, content = str(path), decompress(str(path), read_file(path))
    with reading(name):
        return _workload(name, parse_json(content))


def format_workload(work: Workloads, source: str = "") -> bytes:
    """One network as gzipped JSON; the same network gives the same bytes. UsageError for several."""
    if len(work.networks) != 1:
        raise UsageError(f"{work.name} holds {len(work.networks)} networks; a file of a workload holds one.")
    regions = []
    for i, name in enumerate(work.regions):
        sizes = {key: int(n) for key, n in zip(COLUMNS, work.shape[i], strict=True) if n != 1}
        counts = {"vec_ops": int(work.vec_ops[i]), "weights": int(work.weights[i])}
        regions.append({
            "name": name, "kind": KINDS[work.kind[i]],
            "reads": work.in_tensor[work.in_ptr[i] : work.in_ptr[i + 1]].tolist(), "writes": int(work.out[i]),
            **{key: n for key, n in counts.items() if n}, **sizes,
        })  # fmt: skip
    content = {"format": FORMAT, "name": work.name, "source": source, "params": work.params[0],
               "tensors": {"elems": work.elems.tolist()}, "regions": regions}  # fmt: skip
    return gzip.compress((json.dumps(content, separators=(",", ":")) + "\n").encode(), 9, mtime=0)


def _workload(name: str, found: Any) -> Workloads:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        what = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise UsageError(f"{name} must be an object with format {FORMAT!r}, got {shortened(repr(what), 60)}.")
    _known(f"key of {name}", found, KEYS)
    label, tensors, regions = found.get("name", name), found.get("tensors"), found.get("regions")
    if not isinstance(label, str) or not isinstance(tensors, dict) or list(tensors) != ["elems"]:
        raise UsageError(f"{name}: name must be a text, and tensors an object that holds elems alone.")
    elems = _numbers(f"{name}: tensors.elems", tensors["elems"], 1, MOST)
    if not isinstance(regions, list) or not 1 <= len(regions) <= MOST_REGIONS:
        raise UsageError(f"{name}: regions must be a list of 1 to {MOST_REGIONS} objects.")
    producer = [-1] * len(elems)
    rows = [_region(f"{name}: region {i}", i, each, producer) for i, each in enumerate(regions)]
    reads = [row["reads"] for row in rows]
    for i, row in enumerate(reads):
        late = next((tensor for tensor in row if producer[tensor] > i), None)
        if late is not None:
            raise UsageError(f"{name}: region {i} reads tensor {late}, which region {producer[late]} writes later.")
    return Workloads(
        name=name, kind=np.array([KINDS.index(row["kind"]) for row in rows], np.int8),
        shape=np.array([[row[key] for key in COLUMNS] for row in rows], np.int64),
        weights=np.array([row["weights"] for row in rows], np.int64),
        vec_ops=np.array([row["vec_ops"] for row in rows], np.int64),
        in_ptr=np.cumsum([0, *map(len, reads)]).astype(np.int64),
        in_tensor=np.array([tensor for row in reads for tensor in row], np.int64),
        out=np.array([row["writes"] for row in rows], np.int64), elems=np.array(elems, np.int64),
        producer=np.array(producer, np.int64), first=np.array([0, len(rows)], np.int64), networks=(label,),
        regions=tuple(row["name"] for row in rows),
        params=(_numbers(f"{name}: params", [found.get("params", 0)], 0, MOST)[0],),
    )  # fmt: skip


def _region(what: str, number: int, row: Any, producer: list[int]) -> dict[str, Any]:
    """A checked region with all of its words; who writes its tensor is noted in `producer`."""
    if not isinstance(row, dict):
        raise UsageError(f"{what} must be an object, got {type(row).__name__}.")
    _known(f"key of {what}", row, WORDS)
    found = {"name": f"region{number}", "weights": 0, "vec_ops": 0, **dict.fromkeys(COLUMNS, 1), **row}
    if found.get("kind") not in KINDS:
        raise unknown(f"kind of {what}", found.get("kind"), KINDS)
    if not isinstance(found["name"], str) or not found["name"].isprintable():
        raise UsageError(f"{what}: name must be a text of one line.")
    _numbers(f"{what}: vec_ops and weights", [found["vec_ops"], found["weights"]], 0, MOST)
    _numbers(f"{what}: sizes", [found[key] for key in COLUMNS], 1, MOST)
    reads = _numbers(f"{what}: reads", found.get("reads"), 0, len(producer) - 1)
    (writes,) = _numbers(f"{what}: writes", [found.get("writes")], 0, len(producer) - 1)
    if not reads or len(set(reads)) < len(reads):
        raise UsageError(f"{what}: reads must be one or more tensors, each once.")
    kind = KINDS.index(found["kind"])
    if kind == BMM and len(reads) < 2:
        raise UsageError(f"{what}: a bmm reads two tensors, the moving one and the stationary one.")
    if producer[writes] >= 0 or writes in reads:
        raise UsageError(f"{what} writes tensor {writes}, which another region writes, or which it reads itself.")
    producer[writes] = number
    if kind not in (VECTOR, SOFTMAX) and math.prod(found[key] for key in "GPQCKRS") * found["steps"] > MOST_MACS:
        raise UsageError(f"{what} has more than 2**60 multiply-adds.")
    return {**found, "reads": reads, "writes": writes}


def _known(what: str, found: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in found:
        if key not in known:
            raise unknown(what, key, known)


def _numbers(what: str, values: Any, low: int, high: int) -> list[int]:
    """A list of whole numbers within bounds."""
    if not isinstance(values, list):
        raise UsageError(f"{what} must be a list of whole numbers, got {type(values).__name__}.")
    for value in values:
        if type(value) is not int or not low <= value <= high:
            raise UsageError(
                f"{what} must be whole numbers from {low} to {high}, got {shortened(json.dumps(value), 40)}."
            )
    return values
