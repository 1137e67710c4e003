"""Reading run folders, which may be anybody's: what stands in one has the right types, and stays inside it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sysgym.core.data import read_file
from sysgym.core.errors import UsageError, reading, shortened
from sysgym.core.solutions import parse_json, read_json

MOST_BYTES = 64 * 2**20  # of a record, or of the rows of an evaluation
MOST_THREADS = 1024
# of a value, of an object's entries (`?` marks those that may be missing, `*` all others), of every item
Shape = Callable[[Any], bool] | Mapping[str, Any] | list[Any]


def whole(low: int, high: int) -> Callable[[Any], bool]:
    """Whether a value is a whole number in a range."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def spent(value: Any) -> bool:
    """Whether a value is a number from 0."""
    return number(value) and value >= 0


def text(value: Any) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def table(value: Any) -> bool:
    """Whether a value is an object, whatever its entries."""
    return isinstance(value, dict)


def maybe(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is None or of a shape."""
    return lambda value: value is None or shape(value)


def one_of(*values: Any) -> Callable[[Any], bool]:
    """Whether a value is among some."""
    return lambda value: isinstance(value, str | bool) and value in values


def nothing(value: Any) -> bool:
    """No value: of entries that an object may not have."""
    return False


def scheduled(value: Any) -> bool:
    """Whether a value says how a training is evaluated; None: it is not."""
    return value is None or not fault(value, SCHEDULE)


SCHEDULE = {
    "instances": [{"name": text, "hash": text}], "every": whole(1, 10**15), "stop_after": maybe(whole(1, 10**15)),
}  # fmt: skip
RUN = {
    "kind": text, "status": text, "started": text, "versions": table,
    "problem": {"name": text, "version": whole(0, 10**6), "options": table, "id?": text, "files?": table},
    "instances": [{"name": text, "hash": text}],
    "budget": {"seconds?": maybe(spent), "cpu_seconds?": maybe(spent), "steps?": maybe(whole(1, 10**15)),
               "*": nothing},
    "threads": whole(1, MOST_THREADS), "hardware": table, "seed?": whole(0, 2**63), "seeds?": whole(1, 10**9),
    "seconds?": maybe(number), "cpu_seconds?": maybe(number), "earlier?": [table],
    "ablation?": {"agent": text, "contestants": {"*": {"role": text, "freedom?": text}}}, "freedoms?": [text],
    "eval?": scheduled, "best?": maybe(table), "track?": {"*": text}, "device?": {"device": text},
}  # fmt: skip
TRAINED = {"seed": whole(0, 2**63), "agent": {"name": text, "hyper": table, "options?": table, "recipe?": maybe(text)}}
EVALUATED = {"seeds": whole(1, 10**9), "versions": {"sysgym?": text}, "hardware": {"processor": text, "cores?": number}}
ROW = {
    "agent": text, "instance": text, "seed": whole(0, 2**63), "feasible": one_of(True, False), "cost": maybe(number),
    "seconds": spent, "solution": text, "ratio?": maybe(spent), "freedom?": text, "fallback?": text,
    "metrics?": {"*": number},
}  # fmt: skip
COMPARED = {**ROW, "cpu_seconds": spent}  # of an ablation
PACKED = {"versions": {"sysgym": text}, "hardware": {"processor": text, "cores": number}}  # of what is submitted
SCORED = {"steps": spent, "eval/feasible": spent, "eval/ratio?": maybe(spent), "eval/cost?": maybe(number)}
PROGRESS = {"steps": spent, "seconds": spent, "cpu_seconds?": spent}


def fault(value: Any, shape: Shape, where: str = "") -> str:
    """The first place in plain data that is not of a shape, with what stands there; '' where all is."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        return next(filter(None, (fault(item, shape[0], f"{where}[{i}]") for i, item in enumerate(value))), "")
    if not isinstance(shape, Mapping):
        return "" if shape(value) else f"{where} is {shortened(repr(value), 60)}"
    if not isinstance(value, dict):
        return f"{where or 'it'} is no object"
    for key, inner in shape.items():
        if key == "*":
            continue
        name = key.removesuffix("?")
        place = f"{where}.{name}" if where else name
        if name not in value and name == key:
            return f"{place} is missing"
        found = fault(value[name], inner, place) if name in value else ""
        if found:
            return found
    named = {key.removesuffix("?") for key in shape}
    others = [key for key in value if "*" in shape and key not in named]
    return next(filter(None, (fault(value[key], shape["*"], f"{where}.{shortened(key, 60)}") for key in others)), "")


def load_run(folder: Path) -> dict[str, Any]:
    """The record of a run; UsageError if the folder holds none, or links that lead out of it."""
    file = folder / "run.json"
    if not os.path.isfile(file):
        raise UsageError(f"{folder} is no run folder: it holds no run.json.")
    refuse_links(folder)
    record = read_json(file, MOST_BYTES)
    wrong = fault(record, RUN) or fault(record, {"train": TRAINED, "evaluate": EVALUATED}.get(record["kind"], {}))
    if wrong:
        raise UsageError(
            f"{file} is no record of a run ({wrong}); name a folder made by `sysgym train` or `sysgym evaluate`."
        )
    return dict(record)


def load_rows(folder: Path, shape: Mapping[str, Any] = ROW) -> list[dict[str, Any]]:
    """The rows of an evaluation; UsageError if they cannot be read, or name a file outside the folder."""
    file = folder / "metrics.jsonl"
    with reading(f"the rows of {folder}"):
        rows = [parse_json(line) for line in read_file(file, MOST_BYTES).decode().splitlines()]
    wrong = fault(rows, [shape], "row") if rows else "it is empty"
    if wrong:
        raise UsageError(f"{file} does not hold the rows of an evaluation ({wrong}); evaluate it again.")
    for row in rows:
        inside(folder, row["solution"])
    return rows


def load_progress(file: Path) -> dict[str, float]:
    """Steps and seconds of a checkpoint; UsageError if the file holds something else."""
    found: dict[str, float] = read_json(file, MOST_BYTES)
    wrong = fault(found, PROGRESS)
    if wrong:
        raise UsageError(f"{file} does not say how far the training was ({wrong}); start anew with another folder.")
    return found


def checkpoints(folder: Path) -> list[Path]:
    """Folders of the checkpoints of a run, the newest last."""
    found = [path.parent for path in (folder / "checkpoints").glob("*/progress.json")]
    named = [path for path in found if path.name.isascii() and path.name.isdecimal() and len(path.name) < 16]
    return sorted(named, key=lambda path: int(path.name))


def first_rows(lines: list[str], shape: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of some lines, up to the first that is not of a shape: a kill may have cut it off."""
    rows = []
    for line in lines:
        try:
            row = parse_json(line)
        except ValueError:
            break
        if fault(row, shape):
            break
        rows.append(row)
    return rows


def rows_until(lines: list[str], steps: float) -> list[str]:
    """Lines of metrics of a training up to some steps, without a last one that a kill cut off."""
    rows = itertools.takewhile(lambda row: row["steps"] <= steps, first_rows(lines, {"steps": spent}))
    return [line + "\n" for line, _ in zip(lines, rows, strict=False)]


def metric_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training's metrics, without a last one that a kill cut off; none where there are none."""
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return []
    with reading(file):
        return first_rows(read_file(file, MOST_BYTES).decode().splitlines(), {"steps": spent})


def scored_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training's metrics that hold an evaluation; UsageError if one is damaged."""
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return []
    with reading(file):
        rows = [parse_json(line) for line in read_file(file, MOST_BYTES).decode().splitlines()]
    found = [row for row in rows if isinstance(row, dict) and "eval/feasible" in row]
    wrong = fault(found, [SCORED], "evaluation")
    if wrong:
        raise UsageError(f"{file} holds no evaluations to go on from ({wrong}); start anew with another folder.")
    return found


def inside(folder: Path, name: str) -> Path:
    """The file of a run folder by the name in a record; UsageError if that leads out of the folder."""
    with reading(folder):
        file = folder / name
        if not name or "\0" in name or not file.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{folder} names the file {shortened(name, 80)!r}, which is not in it; run it again.")
    return file


def refuse_links(folder: Path) -> None:
    """UsageError if a link in a folder, at any depth, leads out of it: what goes on with a run writes into it."""
    home = folder.resolve()
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            if os.path.islink(path) and not Path(path).resolve().is_relative_to(home):
                raise UsageError(f"{path} is a link that leads out of {folder}; replace it by what it stands for.")
