"""Maintainers' command that writes the packaged graphs and the index of all partitioning sets.

`python -m sysgym_zoo.embed.partitioning` generates the embedded graphs from seeds, reads the public ones below
SYSGYM_DATA, and records checksums, content hashes, sizes and reference cuts: METIS (k-way, seed 1) as measured here,
and the best known cuts of the tables beside the public data. Hypergraphs, which the word `hypergraphs` behind the
command writes alone, have Mt-KaHyPar (deterministic, seed 1) as measured here on generated netlists, and on the
circuits of ISPD98 the best known cuts by UBfactor and the least of ten runs at eps = 0.03. The word `operations`
writes the computation graphs alone.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import decompress
from sysgym.core.problem import content_hash
from sysgym.core.registry import make_problem
from sysgym.core.solutions import read_solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.generate import generate_graph
from sysgym.graphs.hmetis import format_hmetis, parse_hmetis
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.graphs.io import format_metis, parse_graph
from sysgym.graphs.netlists import generate_hypergraph
from sysgym.partitioning.operations import parse_operations
from sysgym_agents.core import Budget
from sysgym_agents.partitioning.baselines import Metis
from sysgym_agents.partitioning.peers import MtKahypar

ROOT = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "partitioning"
FAMILIES = ("delaunay", "grid", "geometric", "barabasi_albert", "erdos_renyi", "stochastic_block")
KS, EPS = (2, 4, 8), (0.03, 0.05)
WALSHAW_SPLIT = {
    "train": ("add20", "data", "3elt", "uk", "whitaker3", "crack"),
    "valid": ("wing_nodal", "fe_4elt2"),
}
RAW = "https://raw.githubusercontent.com"
WALSHAW_URL = f"{RAW}/LudwikJaniuk/expander-decomp/15df4cb/graphs"
NETWORK_URLS = {  # the other networks were converted or mended, so no public file has their checksum
    **{name: f"{RAW}/networkit/networkit/master/input/{name}.graph"
       for name in ("jazz", "celegans_metabolic", "power", "PGPgiantcompo", "lesmis")},
    **{name: f"{RAW}/KaHIP/KaHIP/master/examples/{name}.graph" for name in ("delaunay_n15", "example_weighted")},
    "delaunay_n10": f"{RAW}/kahypar/mt-kahypar/master/tests/instances/delaunay_n10.graph",
}  # fmt: skip
TILOS = f"{RAW}/TILOS-AI-Institute/HypergraphPartitioning/82241af3249f4a3fa549bb7b32e111130f386664/benchmark"
CIRCUIT_SPLIT = {"train": ("ibm01", "ibm01.weight", "ibm02", "ibm02.weight"), "valid": ("ibm03", "ibm03.weight")}
PUBLISHED = {"hMetis-R": "hmetis-r", "kKaHyPar": "kahypar-k"}  # of the table at eps = 0.03, by the name kept here
UBFACTORS = (1, 2, 5, 10)


def recipe(family: str, n: int, rows: int, seed: int) -> str:
    """A generator recipe; a grid has no randomness, so its splits differ by shape."""
    return f"grid:n={n},rows={rows}" if family == "grid" else f"{family}:n={n},seed={seed}"


def recipes() -> dict[str, dict[str, tuple[str, str]]]:
    """Embedded sets: set -> instance -> (split, recipe)."""
    tiny = {
        f"{family}-{split}": (split, recipe(family, n, rows, seed))
        for seed, (split, n, rows) in enumerate((("train", 64, 4), ("valid", 48, 6), ("test", 64, 8)), 1)
        for family in ("delaunay", "grid", "geometric", "stochastic_block")
    }
    delaunay = {}
    for split, count, low, high, seed in (
        ("train", 8, 300, 1000, 100),
        ("valid", 4, 300, 600, 200),
        ("test", 8, 300, 600, 300),
    ):
        for i, n in enumerate(np.linspace(low, high, count).astype(int)):
            delaunay[f"{split}-{i}"] = (split, f"delaunay:n={n},seed={seed + i}")
    families = {
        f"{family}-{split}": (split, recipe(family, n, rows, seed))
        for seed, (split, n, rows) in enumerate((("train", 800, 25), ("valid", 800, 20), ("test", 1000, 20)), 400)
        for family in FAMILIES
    }
    return {"tiny": tiny, "delaunay": delaunay, "families": families}


def references(graph: Graph, measured: dict[tuple[int, float], dict[str, float]]) -> dict[str, dict[str, float]]:
    """Reference cuts by options: METIS where its answer is feasible, then what `measured` knows."""
    found: dict[str, dict[str, float]] = {}
    for eps in EPS:
        for k in sorted({*KS, *(key[0] for key in measured)}):
            problem = make_problem("Partitioning", k=k, eps=eps)
            row: dict[str, float] = {}
            for recursive in (False, True):
                agent = Metis(recursive=recursive, seed=1)
                verdict = problem.judge(graph, agent.solve(problem, graph, np.random.default_rng(0), Budget()))
                if verdict.feasible:
                    row["metis"] = verdict.cost
                    break
            row |= measured.get((k, eps), {})
            if row:
                found[f"k={k},eps={eps:g}"] = row
    return found


def describe(graph: Graph, file: str, split: str, data: bytes, url: str, measured: Any) -> dict[str, Any]:
    """One row of the index."""
    return {
        "split": split,
        "file": file,
        "url": url,
        "sha256": hashlib.sha256(data).hexdigest(),
        "hash": content_hash(graph),
        "nodes": graph.nodes,
        "edges": graph.edges,
        "references": references(graph, measured),
    }


def embedded_sets() -> dict[str, Any]:
    """Generate and write the packaged graphs."""
    about = {
        "tiny": "48 to 64 nodes from four families; for tests and first steps",
        "delaunay": "triangulations of uniform points, 300 to 1000 nodes",
        "families": "one graph of 800 to 1000 nodes from each of six families and split",
    }
    sets = {}
    for name, members in recipes().items():
        rows = {}
        for short, (split, text) in members.items():
            graph = generate_graph(text)
            data = format_metis(graph).encode()
            file = ROOT / name / f"{short}.graph.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(gzip.compress(data, 9, mtime=0))
            rows[short] = describe(graph, f"{name}/{short}.graph.gz", split, data, "", {})
        sets[name] = {"version": 1, "source": "embedded", "licence": "MIT", "about": about[name], "instances": rows}
    return sets


def operations() -> dict[str, Any]:
    """Describe the computation graphs: the files are those of device placement's set `configurations`.

    Configurations that differ in sizes alone have the same graph here, of which one stands.
    """
    given = json.loads((ROOT.parent / "dataflow" / "index.json").read_text())["configurations"]
    rows: dict[str, Any] = {}
    for short, row in given["instances"].items():
        data = decompress(row["file"], (ROOT.parent / "dataflow" / row["file"]).read_bytes())
        graph = parse_operations(f"operations/{short}", data)
        if content_hash(graph) not in {each["hash"] for each in rows.values()}:
            rows[short] = describe(graph, row["file"], row["split"], data, "", {})
    about = "operators of configurations of traced models; the test split has other architectures"
    return {"version": 1, "source": "embedded", "topic": "dataflow", "licence": given["licence"], "about": about,
            "instances": rows}  # fmt: skip


def best_known(folder: Path) -> dict[str, dict[tuple[int, float], dict[str, float]]]:
    """The tables beside the public data: graph -> (k, eps) -> who -> cut."""
    found: dict[str, dict[tuple[int, float], dict[str, float]]] = {}
    with (folder / "best_found_eps3.csv").open() as stream:
        for row in csv.DictReader(stream):
            if int(row["k"]) <= 16:
                key = (int(row["k"]), 0.03)
                found.setdefault(row["graph"], {})[key] = {"best_known": float(row["best_found_cut"])}
    bisection = make_problem("Partitioning", k=2, eps=0.05)
    for file in sorted((folder / "walshaw" / "best_k2_eps5").iterdir()):
        name = file.name.split(".")[0]
        graph = parse_graph(name, "x.graph", (folder / "walshaw" / f"{name}.graph.gz").read_bytes())
        verdict = bisection.judge(graph, read_solution(bisection, graph, file))
        found.setdefault(name, {})[(2, 0.05)] = {"archive": verdict.cost}
    return found


def public_sets(folder: Path) -> dict[str, Any]:
    """Describe the public graphs that lie in `folder`."""
    known = best_known(folder)
    about = {
        "walshaw": (
            "unstated; cite Soper, Walshaw, Cross 2004",
            "17 graphs of C. Walshaw's Graph Partitioning Archive",
        ),
        "networks": (
            "MIT (networkit, KaHIP, Mt-KaHyPar); NeuroCUT's five unstated",
            "social, power and weighted graphs",
        ),
        "compgraph": ("BSD-3", "training-step computation graphs of five vision models, plain and weighted"),
    }
    sets = {}
    for name, (licence, text) in about.items():
        rows = {}
        for path in sorted((folder / name).glob("*.graph.gz")):
            short = path.name.removesuffix(".graph.gz")
            data = decompress(path.name, path.read_bytes())
            split = next((s for s, members in WALSHAW_SPLIT.items() if short in members), "test")
            url = f"{WALSHAW_URL}/{short}.graph" if name == "walshaw" else NETWORK_URLS.get(short, "")
            key = short.replace(".weighted", "_w")
            graph = parse_graph(f"{name}/{short}", path.name, data)
            rows[short] = describe(graph, f"{name}/{path.name}", split, data, url, known.get(key, {}))
        sets[name] = {"version": 1, "source": "public", "licence": licence, "about": text, "instances": rows}
    return sets


def netlist_recipes() -> dict[str, tuple[str, str]]:
    """Instances of the set `netlists`: name -> (split, recipe)."""
    found = {}
    for split, count, low, high, seed in (
        ("train", 4, 48, 96, 100),
        ("valid", 2, 64, 96, 200),
        ("test", 4, 64, 400, 300),
    ):
        for i, n in enumerate(np.linspace(low, high, count).astype(int)):
            found[f"{split}-{i}"] = (split, f"netlist:n={n},seed={seed + i}")
    return found


def measured(graph: Hypergraph) -> dict[str, dict[str, float]]:
    """Costs of Mt-KaHyPar by options, where it is feasible."""
    found = {}
    for k in (2, 4, 8):
        for objective in ("cut", "km1") if k > 2 else ("cut",):
            problem = make_problem("Partitioning", k=k, eps=0.03, objective=objective)
            answer = MtKahypar(preset="deterministic").solve(problem, graph, np.random.default_rng(1), Budget())
            verdict = problem.judge(graph, answer)
            if verdict.feasible:
                found[f"k={k},eps=0.03" + (",objective=km1" if objective == "km1" else "")] = {
                    "mtkahypar": verdict.cost
                }
    return found


def published(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """The tables beside the circuits: circuit -> options -> who -> cut."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with (folder / "tilos_leaderboard_2way.csv").open() as stream:
        for row in csv.DictReader(stream):
            rows = found.setdefault(row["testcase"].lower().replace("_wt", ".weight"), {})
            for b in UBFACTORS:
                rows[f"k=2,ubfactor={b}"] = {"best_known": float(row[f"cut_ub{b}"])}
    with (folder / "jea20_ispd98_cut_eps3.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["algorithm"] in PUBLISHED and int(row["k"]) <= 16 and row["feasible_runs"] == row["runs"]:
                name = row["hypergraph"].removeprefix("ISPD98_").removesuffix(".hgr")
                who = found.setdefault(name, {}).setdefault(f"k={row['k']},eps=0.03", {})
                who[PUBLISHED[row["algorithm"]]] = float(row["min_cut"])
    return found


def row_of(graph: Hypergraph, file: str, split: str, data: bytes, url: str) -> dict[str, Any]:
    """One row of the index, but for its references."""
    return {
        "split": split, "file": file, "url": url, "sha256": hashlib.sha256(data).hexdigest(),
        "hash": content_hash(graph), "nodes": graph.nodes, "edges": graph.edges,
    }  # fmt: skip


def embedded_netlists() -> dict[str, Any]:
    """Generate and write the packaged hypergraphs."""
    rows = {}
    for short, (split, text) in netlist_recipes().items():
        graph = generate_hypergraph(text)
        data, file = format_hmetis(graph).encode(), f"netlists/{short}.hgr.gz"
        (ROOT / file).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / file).write_bytes(gzip.compress(data, 9, mtime=0))
        rows[short] = row_of(graph, file, split, data, "") | {"references": measured(graph)}
    about = "hypergraphs of 48 to 400 nodes whose nets are local by Rent's rule; for tests and first steps"
    return {"version": 1, "source": "embedded", "licence": "MIT", "about": about, "instances": rows}


def public_circuits(folder: Path) -> dict[str, Any]:
    """Describe the circuits that lie in `folder`."""
    known, rows = published(folder), {}
    for path in sorted(folder.glob("*.hgr.gz")):
        short = path.name.removesuffix(".hgr.gz")
        data = decompress(path.name, path.read_bytes())
        split = next((s for s, members in CIRCUIT_SPLIT.items() if short in members), "test")
        place = "ISPD_weight_benchmark" if short.endswith(".weight") else "ISPD_benchmark"
        graph = parse_hmetis(f"ispd98/{short}", data)
        row = row_of(graph, f"hypergraphs/{path.name}", split, data, f"{TILOS}/{place}/{short}.hgr")
        rows[short] = row | {"references": known.get(short, {})}
    about = (
        "six circuits of IBM (Alpert 1998) as hypergraphs of unit weights, three of them with the areas of cells too"
    )
    licence = "BSD-3 (TILOS-AI-Institute/HypergraphPartitioning)"
    return {"version": 1, "source": "public", "licence": licence, "about": about, "instances": rows}


def hypergraph_sets() -> dict[str, Any]:
    """Both sets."""
    folder = Path(os.environ["SYSGYM_DATA"]) / "partitioning" / "hypergraphs"
    return {"netlists": embedded_netlists(), "ispd98": public_circuits(folder)}


def main(words: list[str]) -> None:
    """Write the packaged graphs and `index.json`; with the word `hypergraphs` or `operations`, only their part."""
    index = ROOT / "index.json"
    if "operations" in words:
        sets = json.loads(index.read_text()) | {"operations": operations()}
    elif "hypergraphs" in words:
        sets = json.loads(index.read_text()) | hypergraph_sets()
    else:
        public = public_sets(Path(os.environ["SYSGYM_DATA"]) / "partitioning")
        sets = embedded_sets() | {"operations": operations()} | public | hypergraph_sets()
    index.write_text(json.dumps(sets, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
