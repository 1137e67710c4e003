"""Maintainers' command that writes the index of the workloads of accelerator design, and designs to start from.

`python -m sysgym_zoo.embed.accelerator` makes every workload by its formula and records content hashes, sizes, splits
and the best designs known: those of `best_known.json` below SYSGYM_DATA, judged here. `designs.json` holds the best
designs that the genetic search finds for the workloads of the train split, `published.json` the figures of the paper.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.accelerator_design.catalogue import MULTI5, NETWORKS, TINY_BLOCKS, small_cnn
from sysgym.accelerator_design.instance import Workloads, joined
from sysgym.accelerator_design.problem import AcceleratorDesign
from sysgym.accelerator_design.space import indices, named
from sysgym.core.instances import load_index
from sysgym.core.problem import content_hash
from sysgym_agents.accelerator_design.searches import Genetic
from sysgym_agents.core import Budget

DATA = Path(os.environ.get("SYSGYM_DATA", ".")) / "accelerator"
TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "accelerator" / "index.json"
SPLITS = {  # families across the splits where there are several of one
    "train": ("efficientnet-b0", "efficientnet-b1", "efficientnet-b2", "efficientnet-b3", "mobilenet-v1", "resnet50",
              "bert-base-128"),
    "valid": ("efficientnet-b4", "efficientnet-b5", "mobilenet-v2"),
    "test": ("efficientnet-b6", "efficientnet-b7", "resnet50v2", "bert-base-1024", "ocr-rpn-like",
             "ocr-recognizer-like", "multi5"),
}  # fmt: skip
SEEDS, EVALUATIONS = 3, 5000  # of the searches for designs to start from
TINY = {"train": 8, "valid": 4, "test": 4}


def row(work: Workloads, split: str, known: dict[str, Any]) -> dict[str, Any]:
    """An entry of the index."""
    problem = AcceleratorDesign()
    size = problem.size(work)
    found: dict[str, Any] = {"split": split, "hash": content_hash(work), "nodes": size.nodes, "edges": size.edges}
    if known:
        cost = problem.judge(work, {"design": indices(known["design"])}).cost
        found["references"] = {"best known": {"genetic, 60,000 evaluations": cost}}
    return found


def found(name: str) -> dict[str, int]:
    """The best design of a few searches, by name and value."""
    problem = AcceleratorDesign()
    work, answers = problem.load(f"fast/{name}"), []
    for seed in range(SEEDS):
        solution = Genetic().solve(problem, work, np.random.default_rng(seed), Budget(steps=EVALUATIONS))
        answers.append((problem.judge(work, solution).cost, named(solution["design"])))
    return min(answers, key=lambda answer: answer[0])[1]


def main() -> None:
    """Write the index and the designs."""
    known = json.loads((DATA / "best_known.json").read_text())
    fast = {}
    for split, names in SPLITS.items():
        for name in names:
            work = joined(name, [NETWORKS[each]() for each in MULTI5]) if name == "multi5" else NETWORKS[name]()
            fast[name] = row(work, split, known.get(name, {}))
    tiny = {
        f"{split}-{i}": row(small_cnn(1000 * place + i, TINY_BLOCKS), split, {})
        for place, (split, count) in enumerate(TINY.items()) for i in range(count)
    }  # fmt: skip
    sets = {
        "cnns": {"version": 1, "source": "embedded", "licence": "MIT", "instances": tiny,
                 "about": "small convolutional networks drawn from seeds"},
        "fast": {"version": 1, "source": "embedded", "licence": "MIT", "instances": fast,
                 "about": "the networks of FAST (Zhang et al. 2022), MobileNets and ResNet-50, by formula"},
    }  # fmt: skip
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(sets, indent=1) + "\n")
    load_index.cache_clear()
    with (DATA / "published_fast.csv").open(newline="") as lines:
        figures = [
            {"where": row["where"], "quantity": row["quantity"], "value": row["value"],
             "source": row["provenance"].replace("brief + ", "")}
            for row in csv.DictReader(lines)
        ]  # fmt: skip
    TARGET.with_name("published.json").write_text(json.dumps(figures, indent=1) + "\n")
    designs = {name: found(name) for name in SPLITS["train"]}
    TARGET.with_name("designs.json").write_text(json.dumps(designs, indent=1) + "\n")


if __name__ == "__main__":
    main()
