"""One run of a sweep, in whatever process: begun, gone on with, or found done already. The run folder is the truth."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from filelock import FileLock, Timeout

from sysgym.core.errors import SysgymError, UsageError
from sysgym_zoo.jobs.console import clean, was_interrupted
from sysgym_zoo.jobs.selection import BEST, WEIGHTS
from sysgym_zoo.lookup.records import COMPARED, ROW, load_rows, load_run
from sysgym_zoo.sweeps.backends import interruptible
from sysgym_zoo.sweeps.files import pairs
from sysgym_zoo.sweeps.units import Unit, agent_of, plain_data, training_of

# how a run is, as its folder says
DONE, MISSING, STOPPED, FAILED, BROKEN = "done", "missing", "interrupted", "failed", "broken"
# what else its process may say
BUSY, FULL = "busy", "full"


NO_ROOM = ("os error 28", "os error 122", "No space left on device")


def state(root: Path, unit: Unit) -> str:
    """How a run is: done with all that it is to leave, missing, or begun and `interrupted`, `failed` or `broken`."""
    folder = unit.folder(root)
    if not (folder / "run.json").is_file():
        return FAILED if _sentence(root, unit).is_file() else MISSING
    try:
        record = load_run(folder)
        if record["status"] != "done":
            return FAILED if record["status"] == "failed" else STOPPED
        return DONE if not other(root, unit, record) and _whole(folder, record) else BROKEN
    except (SysgymError, OSError, KeyError, TypeError):
        return BROKEN


def other(root: Path, unit: Unit, record: Mapping[str, Any]) -> str:
    """In what a run is not the one that its id is the hash of: a file may have changed since. '' where it is."""
    told, wanted = clean(dict(record)), unit.definition
    problem = {key: value for key, value in wanted["problem"].items() if key in told["problem"]}
    if any(told["problem"][key] != value for key, value in problem.items()):
        return "problem"
    for key in ("instances", "seed", "seeds", "threads", "budget", "eval"):
        if key in wanted and told.get(key) != wanted[key]:
            return key
    if unit.kind == "train":
        agent = {key: value for key, value in told["agent"].items() if key != "started_from"}
        return "" if agent == wanted["agent"] else "agent"
    return "" if told.get("made_of") == made_of(root, unit) else "agent"


def made_of(root: Path, unit: Unit, choice: Any = None) -> dict[str, Any]:
    """What an evaluation's agent is: the model of its training as it is now, or what the sweep says (or a `choice`)."""
    if not unit.needs:
        return plain_data(agent_of(choice)) if choice is not None else dict(unit.definition["agent"])
    record = load_run(root / "runs" / unit.needs)
    kept = record.get("best") or {} if unit.words.get("model") == "best" else record
    return {**unit.definition["agent"], "weights_sha256": kept.get("weights_sha256")}


def _whole(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether a run that ended has its weights, or every answer once."""
    if record["kind"] != "train":
        return _answered(folder, record)
    kept = [(folder / "agent", record["weights_sha256"])]
    if record.get("best"):
        kept.append((folder / BEST, record["best"]["weights_sha256"]))
    return all(hashlib.sha256((path / WEIGHTS).read_bytes()).hexdigest() == wanted for path, wanted in kept)


def _answered(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether there is one row for every instance and seed, of all agents that were not left out, with its solution."""
    told = record.get("ablation")
    rows = load_rows(folder, COMPARED if told else ROW)
    agents = {row["agent"] for row in rows}
    wanted = set(itertools.product(agents, [item["name"] for item in record["instances"]], range(record["seeds"])))
    found = [(row["agent"], row["instance"], row["seed"]) for row in rows]
    took_part = told["agent"] in agents if told else agents == set(record["agents"])
    return took_part and sorted(found) == sorted(wanted) and all(is_zipfile(folder / row["solution"]) for row in rows)


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
                status = _carry_out(folder, unit, track)
            changed = other(folder, unit, load_run(unit.folder(folder))) if status == DONE else ""
            if changed:
                raise UsageError(f"its {changed} changed since the sweep began; run the same command again.")
            return {"status": status}
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
    full = full or any(said in str(error) for said in NO_ROOM)  # of writers in other languages
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
    from sysgym_agents.core import Budget
    from sysgym_zoo.jobs.ablation import ablate
    from sysgym_zoo.jobs.evaluate import How, evaluate
    from sysgym_zoo.lookup.finding import Clues, split
    from sysgym_zoo.lookup.naming import changed, choose
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
    notes = {"made_of": made_of(root, unit, changed([choose(word)], pairs(words.get("set")))[0])}
    seeds, device = words.get("seeds", 1), words.get("device", "auto")
    how = How(seeds, budget, unit.threads, unit.folder(root), notes, resume=resume, device=device)
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
