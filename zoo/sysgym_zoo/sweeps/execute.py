"""One run of a sweep, in whatever process: begun, gone on with, or found done already. The run folder is the truth."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sysgym.core.errors import SysgymError
from sysgym_zoo.jobs.console import was_interrupted
from sysgym_zoo.jobs.selection import BEST, WEIGHTS
from sysgym_zoo.lookup.records import COMPARED, ROW, load_rows, load_run
from sysgym_zoo.sweeps.backends import interruptible
from sysgym_zoo.sweeps.files import pairs
from sysgym_zoo.sweeps.units import Unit, training_of

# how a run is, as its folder says
DONE, MISSING, STOPPED, FAILED, BROKEN = "done", "missing", "interrupted", "failed", "broken"
# what else its process may say
BUSY, FULL = "busy", "full"


def state(root: Path, unit: Unit) -> str:
    """How a run is: done with all that it is to leave, missing, or begun and `interrupted`, `failed` or `broken`."""
    folder = unit.folder(root)
    if not (folder / "run.json").is_file():
        return FAILED if _sentence(root, unit).is_file() else MISSING
    try:
        record = load_run(folder)
        if record["status"] != "done":
            return FAILED if record["status"] == "failed" else STOPPED
        return DONE if _whole(folder, record) else BROKEN
    except (SysgymError, OSError, KeyError, TypeError):
        return BROKEN


def _whole(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether a run that ended has its weights, or every answer."""
    if record["kind"] != "train":
        rows = load_rows(folder, COMPARED if record.get("ablation") else ROW)
        return bool(rows) and all((folder / row["solution"]).is_file() for row in rows)
    kept = [(folder / "agent", record["weights_sha256"])]
    if record.get("best"):
        kept.append((folder / BEST, record["best"]["weights_sha256"]))
    return all(hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest() == wanted for path, wanted in kept)


def why_failed(root: Path, unit: Unit) -> str:
    """The sentence of a run that failed."""
    file = _sentence(root, unit)
    return file.read_text().strip() if file.is_file() else "no reason is recorded"


def _sentence(root: Path, unit: Unit) -> Path:
    return root / "logs" / f"{unit.id}.error"


def perform(root: str, home: str, plain: Mapping[str, Any], track: Sequence[str] = ()) -> dict[str, Any]:
    """Carry out a run: `{"status": ...}`, with the sentence of an `error`.

    root: the sweep's folder, absolute. home: the folder that names of files count from. plain: a Unit as plain data.
    track: trackers of its training, beside TensorBoard.
    It never raises, and two processes never write into one folder: who comes second is told that the run is `busy`.
    """
    unit, folder = Unit(**plain), Path(root)
    for name in ("runs", "logs", "locks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    before = os.getcwd()
    try:
        with FileLock(folder / "locks" / unit.id, timeout=0), _logged(folder / "logs" / f"{unit.id}.log"):
            os.chdir(home)
            if state(folder, unit) == DONE:
                return {"status": DONE}
            with interruptible():
                return {"status": _carry_out(folder, unit, track)}
    except Timeout:
        return {"status": BUSY}
    except KeyboardInterrupt:
        return {"status": STOPPED}
    except Exception as error:
        return _failed(folder, unit, error)
    finally:
        os.chdir(before)


def _failed(root: Path, unit: Unit, error: Exception) -> dict[str, Any]:
    if was_interrupted(error):
        return {"status": STOPPED}
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, SysgymError):
        sentence = str(error)
    elif isinstance(error, OSError):
        sentence = f"{error.filename or 'the output'}: {error.strerror or error}."
    else:
        sentence = f"unexpected {type(error).__name__}: {(str(error).splitlines() or [''])[0]}; see logs/{unit.id}.log."
    with contextlib.suppress(OSError):
        _sentence(root, unit).write_text(sentence + "\n")
    return {"status": FULL if full else FAILED, "error": sentence}


def _carry_out(root: Path, unit: Unit, track: Sequence[str]) -> str:
    """Begin a run or go on with it; how it ended."""
    _sentence(root, unit).unlink(missing_ok=True)
    folder = unit.folder(root)
    begun = state(root, unit) in (STOPPED, FAILED)
    if folder.exists() and not begun:
        _set_aside(root, folder)
    if begun:
        try:
            return _run(root, unit, True, track)
        except SysgymError as error:  # what is there cannot be gone on with
            print(f"begun anew: {error}", file=sys.stderr)
            _set_aside(root, folder)
    return _run(root, unit, False, track)


def _set_aside(root: Path, folder: Path) -> None:
    """Move a folder that cannot be gone on with to `broken/`: nothing is thrown away."""
    if not any(folder.iterdir()):
        folder.rmdir()
        return
    (root / "broken").mkdir(exist_ok=True)
    number = 1
    while (root / "broken" / f"{folder.name}-{number}").exists():
        number += 1
    shutil.move(folder, root / "broken" / f"{folder.name}-{number}")


def _run(root: Path, unit: Unit, resume: bool, track: Sequence[str]) -> str:
    status = _train(root, unit, resume, track) if unit.kind == "train" else _evaluate(root, unit, resume)
    return STOPPED if status == "interrupted" else status


def _train(root: Path, unit: Unit, resume: bool, track: Sequence[str]) -> str:
    from sysgym_zoo.jobs.train import train

    words = _resumed(root, unit) if resume else unit.words
    _, record = train(training_of(words, unit.folder(root), resume, track))
    return str(record["status"])


def _resumed(root: Path, unit: Unit) -> dict[str, Any]:
    """The words to go on with a training: only what may name files, which a record alone may not."""
    from sysgym.core.registry import problem_class
    from sysgym_zoo.lookup.trust import file_options

    record = load_run(unit.folder(root))
    kind = problem_class(record["problem"].get("id", record["problem"]["name"]))
    named = file_options(kind, unit.words.get("options", {}), unit.folder(root))
    keys = ("instances", "eval_instances", "stop_after", "threads", "device", "steps", "seconds", "cpu_seconds")
    return {**{key: unit.words[key] for key in keys if key in unit.words}, "options": named}


def _evaluate(root: Path, unit: Unit, resume: bool) -> str:
    from sysgym.core.errors import UsageError
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs.ablation import ablate
    from sysgym_zoo.jobs.evaluate import How, evaluate
    from sysgym_zoo.lookup.finding import Clues, split
    from sysgym_zoo.lookup.resolve import build_all, instance_names, keys_of

    words = unit.words
    options = pairs({**unit.trained.get("options", {}), **words.get("options", {})})
    if unit.needs:
        model = root / "runs" / unit.needs
        word = str(model / BEST if words.get("model") == "best" else model)
        if not (Path(word) / "agent.json").is_file() and not (Path(word) / "agent").is_dir():
            raise UsageError(f"the training {unit.needs} left no model to evaluate; see logs/{unit.needs}.log.")
    else:
        word = words["agent"]
    named = words.get("instances")
    built, solvers = build_all(
        Clues(words.get("problem"), [word], "", split(named), None, options), pairs(words.get("set"))
    )
    loaded = [built.load(name) for name in instance_names(built, named or built.default_instances)]
    budget = Budget(words.get("seconds"), words.get("steps"), words.get("cpu_seconds"))
    how = How(
        words.get("seeds", 1),
        budget,
        unit.threads,
        unit.folder(root),
        resume=resume,
        device=words.get("device", "auto"),
    )
    if words.get("ablate"):
        ablate(word, built, keys_of(options), loaded, how)
    else:
        evaluate(built, solvers, loaded, how)
    return DONE


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Let all that is printed within, by whatever library, go to the end of a file."""
    from sysgym_zoo.cli.guard import notices_as_lines

    streams = (sys.stdout, sys.stderr)
    with file.open("a", buffering=1) as log:
        kept = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            sys.stdout = sys.stderr = log
            with notices_as_lines():
                yield
        except Exception:
            traceback.print_exc(file=log)
            raise
        finally:
            sys.stdout, sys.stderr = streams
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)


def plain(unit: Unit) -> dict[str, Any]:
    """A unit as plain data, for a process elsewhere."""
    return dict(json.loads(json.dumps(asdict(unit))))
