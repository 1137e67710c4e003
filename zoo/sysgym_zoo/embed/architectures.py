"""Maintainers' command that trains a table of small networks: `python -m sysgym_zoo.embed architectures[=TRIALS]`.

72 networks in the words of Britz et al. 2017 learn to write Arabic names in Latin letters (the packaged pairs,
Apache-2.0), from three seeds each, about 10 CPU seconds a training; each is judged with three beams. Every finished
training is a line of TRIALS, a file of JSON lines (default: beside the table), so that the command goes on where it
was stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError
from sysgym.nmt_architecture.catalogue import packaged_pairs
from sysgym.nmt_architecture.files import FORMAT
from sysgym.nmt_architecture.instance import Sizes
from sysgym.nmt_architecture.live import DIGITS, JUDGED
from sysgym.nmt_architecture.networks import network, searched
from sysgym_agents.decoding.training.memory import keep_freed_memory
from sysgym_agents.decoding.training.trials import Trials
from sysgym_zoo.jobs.console import Progress, say
from sysgym_zoo.jobs.runs import hardware

TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "nmt_architecture" / "ar2en.json"
FACTORS: Mapping[str, Sequence[str]] = {
    "embedding": ("32", "64"),
    "cell": ("LSTM", "GRU"),
    "encoder": ("Uni-1", "Uni-1R", "Bidi-2"),
    "decoder": ("1", "2"),
    "attention": ("Add-64", "Mul-64", "None-State"),
    "beam": ("B1", "B5", "B10-LP-1.0"),
}
BASELINE = ("64", "GRU", "Bidi-2", "2", "Mul-64", "B10-LP-1.0")  # the published one, of this size
UNITS, SEEDS = 64, len(JUDGED)
MEASURE = "100 - CER"


def fill(trials: Trials, factors: Mapping[str, Sequence[str]], seeds: int, place: Path) -> list[dict[str, Any]]:
    """All trainings: those that a file of trials has, and those that it lacks, which are added to it one by one.

    The last factor, the beam, needs no training of its own. UsageError where the file is of other trainings.
    """
    names, beams = list(factors)[:-1], [searched(word) for word in factors["beam"]]
    sizes = Sizes(trials.vocabulary, UNITS)
    head = {"key": trials.key, "beams": list(factors["beam"]), "units": UNITS}
    wanted = list(product(range(seeds), product(*list(factors.values())[:-1])))
    done = _read(place, head)
    bar = Progress("trainings", len(wanted), "trainings")
    for number, (seed, values) in enumerate(wanted):
        if (seed, values) not in done:
            result = trials.run(network(dict(zip(names, values, strict=True)), sizes), seed, beams)
            row = {"seed": seed, "values": values, "rates": [round(rate, DIGITS) for rate in result.rates],
                   "cpu_seconds": round(result.cpu_seconds, 2)}  # fmt: skip
            with place.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            done[seed, values] = row
        bar.update(number + 1, "")
    bar.close()
    return [done[key] for key in wanted]


def _read(place: Path, head: dict[str, Any]) -> dict[tuple[int, tuple[str, ...]], dict[str, Any]]:
    """The finished trainings of a file, which is begun if it is not there; half a line at its end is cut."""
    text = place.read_text() if place.exists() else ""
    whole = text[: text.rfind("\n") + 1] or json.dumps(head) + "\n"
    if whole != text:
        place.write_text(whole)
    first, *rows = (json.loads(line) for line in whole.splitlines())
    if first != head:
        raise UsageError(f"{place} holds trainings of other texts, settings or libraries; name another file.")
    return {(row["seed"], tuple(row["values"])): row for row in rows}


def table_of(
    trials: Trials, factors: Mapping[str, Sequence[str]], baseline: Sequence[str], place: Path
) -> dict[str, Any]:
    """The table as it is packaged: quality of every configuration, 100 - its character errors in percent."""
    done = fill(trials, factors, SEEDS, place)
    found: dict[tuple[str, ...], list[float]] = {values: [] for values in product(*factors.values())}
    for row in done:
        for beam, rate in zip(factors["beam"], row["rates"], strict=True):
            found[*row["values"], beam].append(round(max(100 - rate, 0.0), DIGITS))
    rows = [{"values": list(values), "runs": runs} for values, runs in found.items()]
    checksums = {name: hashlib.sha256(packaged_pairs(name).encode()).hexdigest() for name in ("train", "eval")}
    about = {
        "command": "python -m sysgym_zoo.embed architectures", "data": "ar2en (google/transliteration, Apache-2.0)",
        "sha256": checksums, "training": asdict(trials.setting), "seeds": SEEDS, "trainings": len(done),
        "cpu_seconds": round(sum(row["cpu_seconds"] for row in done)), "hardware": hardware(),
        "versions": {name: version(name) for name in ("numpy", "torch")},
    }  # fmt: skip
    return {
        "format": FORMAT, "measure": MEASURE, "about": about, "networks": Sizes(trials.vocabulary, UNITS)._asdict(),
        "parameters": {name: list(values) for name, values in factors.items()}, "baseline": list(baseline),
        "rows": rows,
    }  # fmt: skip


def main(place: str | None = None) -> None:
    """Train what is not trained yet, and write the table."""
    keep_freed_memory()
    trials = Trials(packaged_pairs("train"), packaged_pairs("eval"))
    found = table_of(trials, FACTORS, BASELINE, Path(place) if place else TARGET.with_suffix(".jsonl"))
    rows = ",\n".join(json.dumps(row) for row in found.pop("rows"))
    TARGET.write_text(f'{json.dumps(found, indent=1)[:-2]},\n "rows": [\n{rows}\n]}}\n')
    say(str(TARGET))


if __name__ == "__main__":
    main()
