"""Maintainers' command that writes published ablations and an index: `python -m sysgym_zoo.embed nmt_architecture`.

It reads the tables of Britz et al. 2017 below SYSGYM_DATA (decoding/britz2017).
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from sysgym.core.errors import UsageError
from sysgym.core.instances import load_index
from sysgym.core.problem import content_hash
from sysgym.nmt_architecture.catalogue import made
from sysgym.nmt_architecture.files import USUAL
from sysgym.nmt_architecture.problem import NMTArchitecture

TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "nmt_architecture"
SOURCE = "Britz, Goldie, Luong, Le 2017, arXiv 1703.03906, tables 2 to 7, by copies of its figures"
SHRINK = 0.3  # (0.16 / 1.10 + 0.48 / 1.10) / 2: the combined system's gains over Add-512, of the sum of single ones
BASELINE = {"embedding": "512", "cell": "GRU", "encoder": "Bidi-2", "decoder": "2", "attention": "Mul-512",
            "beam": "B10-LP-1.0"}  # fmt: skip
SETS = {"published": {"test": 50}, "table": {"test": 50}, "drawn": {"train": 64, "valid": 16, "test": 16}}
ABOUT = {"published": "tables 2 to 7 of Britz et al. 2017, with noise of 50 seeds",
         "table": "small networks that were trained to write Arabic names in Latin letters, with noise of 50 seeds",
         "drawn": "random tables of the same kind, drawn from seeds"}  # fmt: skip
FIRST = {"train": 1000, "valid": 2000, "test": 0}  # seeds of a split begin here


def factor_of(row: dict[str, str]) -> tuple[str, str] | None:
    """The parameter and the value of a line of the tables; None of the baseline's repetitions."""
    word = row["variant"].removesuffix(" (baseline)")
    table = row["table"].partition("_")[2]
    if table == "depth":
        side, _, rest = word.partition("-")
        encoder = side == "Enc"
        if encoder and rest == "2":
            return None  # stands among the encoders
        return ("encoder", f"Bidi-{rest}") if encoder else ("decoder", rest)
    return {"embedding": ("embedding", word.removeprefix("emb-"))}.get(table, (table, word))


def figures(folder: Path) -> dict[str, Any]:
    """All of it, in the order of the parameters."""
    with (folder / "ablations.csv").open(newline="") as lines:
        rows = [(factor_of(row), row) for row in csv.DictReader(lines)]
    changes: list[dict[str, Any]] = [
        {"parameter": told[0], "value": told[1], "mean": float(row["bleu_mean"]), "std": float(row["bleu_std"]),
         "max": float(row["bleu_max"]), "millions": float(row["params_M"]), "table": f"table {row['table'][0]}"}
        for told, row in rows if told is not None
    ]  # fmt: skip
    changes.sort(key=lambda row: list(BASELINE).index(row["parameter"]))
    with (folder / "systems.csv").open(newline="") as lines:
        systems = [
            {"where": f"newstest20{year}", "quantity": f"{row['system']}, BLEU", "value": row[f"newstest{year}"],
             "source": row["source"]}
            for row in csv.DictReader(lines) for year in ("14", "15") if row[f"newstest{year}"]
        ]  # fmt: skip
    base = next(row for row in changes if row["parameter"] == "cell" and row["value"] == BASELINE["cell"])
    return {
        "source": SOURCE, "shrink": SHRINK, "baseline": {"values": BASELINE, "mean": base["mean"], "std": base["std"]},
        "changes": changes, "systems": systems,
    }  # fmt: skip


def index() -> dict[str, Any]:
    """The sets, with the hash and the size of each instance."""
    problem, found = NMTArchitecture(), {}
    for backend, splits in SETS.items():
        instances = {}
        for split, count in splits.items():
            for number in range(count):
                facts: dict[str, Any] = {"backend": backend, "seed": FIRST[split] + number, "evaluations": USUAL}
                instance = made(f"{backend}/{split}-{number}", **facts)
                size = problem.size(instance)
                instances[f"{split}-{number}"] = {
                    "split": split, "hash": content_hash(instance), "nodes": size.nodes, "edges": size.edges // 2,
                    "facts": facts,
                }  # fmt: skip
        found[backend] = {"version": 1, "source": "embedded", "licence": "MIT", "about": ABOUT[backend],
                          "instances": instances}  # fmt: skip
    return found


def main() -> None:
    """Write both files."""
    folder = Path(os.environ.get("SYSGYM_DATA", ".")) / "decoding" / "britz2017"
    if not folder.is_dir():
        raise UsageError("SYSGYM_DATA names no folder that holds decoding/britz2017.")
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "britz2017.json").write_text(json.dumps(figures(folder), indent=1) + "\n")
    (TARGET / "index.json").write_text(json.dumps(index(), indent=1) + "\n")
    load_index.cache_clear()


if __name__ == "__main__":
    main()
