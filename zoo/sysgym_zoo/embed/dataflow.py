"""Maintainers' command that writes the packaged dataflow graphs and their index.

`python -m sysgym_zoo.embed.dataflow` generates the layered networks from their recipes, traces the configurations of
the shipped models, copies the collection below SYSGYM_DATA (traced by us, or under licences that allow it), and records
checksums, content hashes, sizes and reference costs, which are measured here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.problem import content_hash
from sysgym.core.registry import make_problem
from sysgym.dataflow.graphs.generate import generate_graph
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym.dataflow.graphs.io import format_graph, parse_graph
from sysgym_agents.core import Budget
from sysgym_agents.dataflow.annealing import DeviceAnnealer

ROOT = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "dataflow"
LAYERED = {
    "train-0": ("train", "depth=2,width=2,seed=1"), "train-1": ("train", "depth=3,width=2,devices=3,seed=2"),
    "valid-0": ("valid", "depth=6,width=4,seed=3"), "test-0": ("test", "depth=8,width=4,devices=4,seed=4"),
    "test-1": ("test", "depth=12,width=6,devices=4,seed=5"),
}  # fmt: skip
SEEDS = {  # the models of GDP and GO; families do not straddle the splits
    "train": ("rnnlm_2l", "rnnlm_4l", "rnnlm_8l", "gnmt_2l", "gnmt_4l", "gnmt_8l", "inception_v3_b32",
              "inception_v3_b64", "amoebanet_d18"),
    "valid": ("wavenet_2s", "wavenet_4s"),
    "test": ("txl_2l", "txl_4l", "txl_8l"),
}  # fmt: skip
MODELS = {
    "train": ("resnet50_b32_train", "vgg16_b32_train", "resnet50_b8_infer", "inception_v3_b1_infer",
              "inception_v3_b32_infer"),
    "valid": ("bert_base_b16_train",),
    "test": ("gpt2_12l_b8_train", "gpt2_12l_b4_infer"),
}  # fmt: skip
ABOUT = {
    "layered": ("MIT", "random layered networks, training steps"),
    "seeds": ("MIT (traced for sysgym)", "training steps of the 14 models of GDP and GO, 703 to 52313 nodes"),
    "models": ("MIT (traced for sysgym)", "ResNet, VGG, BERT, GPT-2 and inference graphs"),
    "msr": ("MIT (msr-fiddle/dnn-partitioning)", "layer and operator graphs of throughput optimisation"),
    "pipedream": ("MIT (msr-fiddle/pipedream)", "measured profiles of training, layers"),
    "configurations": (
        "MIT (traced for sysgym)",
        "many configurations of the shipped models, train and infer; the test split has other architectures",
    ),
    "doppler": ("CC BY 4.0 (xinyuyao/Doppler)", "three tensor programs of Doppler"),
}  # fmt: skip


def references(graph: DataflowGraph, joint: bool) -> dict[str, dict[str, float]]:
    """Costs of the expert's placement and what `sa-device` reaches with seed 1, by tasks, under the usual rules."""
    found: dict[str, dict[str, float]] = {}
    for tasks in ("placement", "placement+schedule+fusion") if joint else ("placement",):
        single = tasks == "placement"
        problem: Any = make_problem("DevicePlacement") if single else make_problem("GraphOptimization", tasks=tasks)
        budget = Budget(steps=2000 if single else 500)
        solution = DeviceAnnealer(metis=False).solve(problem, graph, np.random.default_rng(1), budget)
        verdict = problem.judge(graph, solution)
        found[tasks] = {"expert": problem.job(graph).expert_ns}
        if verdict.feasible:
            found[tasks]["sa-device"] = verdict.cost
        print(f"{graph.name} {found[tasks]}", file=sys.stderr, flush=True)
    return found


def entry(graph: DataflowGraph, path: Path, content: bytes, split: str) -> dict[str, Any]:
    """Write a packaged file; its row of the index."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0))
    return {
        "split": split, "file": str(path.relative_to(ROOT)), "sha256": hashlib.sha256(content).hexdigest(), "url": "",
        "hash": content_hash(graph), "nodes": graph.nodes, "edges": graph.edges,
        "references": references(graph, path.parent.name in ("layered", "seeds")),
    }  # fmt: skip


def copied(public: Path, group: str, stem: str, short: str, split: str) -> dict[str, Any]:
    """A graph of the collection as it is there."""
    content = gzip.decompress((public / f"{stem}.json.gz").read_bytes())
    return entry(parse_graph(stem, content), ROOT / group / f"{short}.json.gz", content, split)


def third_party(public: Path, group: str) -> dict[str, Any]:
    """All graphs of one source; families do not straddle the splits."""
    rows = {}
    for path in sorted(public.glob(f"{group}_*.json.gz")):
        stem = path.name.removesuffix(".json.gz")
        short = stem.removeprefix(f"{group}_")
        held = {
            "gnmt": "valid",
            "ffnn": "valid",
            "densenet": "valid",
            "bert": "test",
            "llama": "test",
            "nasnet": "test",
        }
        split = next((split for family, split in held.items() if family in short), "train")
        rows[short] = copied(public, group, stem, short, split)
    return rows


def main() -> None:
    """Write the packaged graphs and `index.json`."""
    public = Path(os.environ["SYSGYM_DATA"]) / "dataflow"
    sets: dict[str, dict[str, Any]] = {"layered": {}}
    for short, (split, recipe) in LAYERED.items():
        graph = generate_graph(f"layered:{recipe}")
        content = gzip.decompress(format_graph(graph))
        sets["layered"][short] = entry(graph, ROOT / "layered" / f"{short}.json.gz", content, split)
    sets["seeds"] = {short: copied(public, "seeds", f"{short}_train", short, split)
                     for split, members in SEEDS.items() for short in members}  # fmt: skip
    sets["models"] = {short: copied(public, "models", short, short, split)
                      for split, members in MODELS.items() for short in members}  # fmt: skip
    for group in ("msr", "pipedream", "doppler"):
        sets[group] = third_party(public, group)
    sets["configurations"] = configurations()
    write(sets)


def configurations() -> dict[str, Any]:
    """Write the graphs of all configurations of the shipped models, which are traced here; their rows."""
    from sysgym_zoo.models.configurations import graphs

    rows = {}
    for given, graph in graphs():
        content = gzip.decompress(format_graph(graph))
        rows[given.name] = entry(graph, ROOT / "configurations" / f"{given.name}.json.gz", content, given.split)
    return rows


def write(sets: dict[str, dict[str, Any]]) -> None:
    """Write the rows of some sets into the index; other sets stay as they are there."""
    path = ROOT / "index.json"
    index = json.loads(path.read_text()) if path.is_file() else {}
    index |= {name: {"version": 1, "source": "embedded", "licence": ABOUT[name][0], "about": ABOUT[name][1],
                     "instances": rows} for name, rows in sets.items()}  # fmt: skip
    path.write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
