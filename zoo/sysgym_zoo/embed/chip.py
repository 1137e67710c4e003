"""Maintainers' command that writes the packaged chips and the index of all sets of chip placement.

`python -m sysgym_zoo.embed.chip` generates the tiles from their recipes, copies the designs whose licence allows it,
reads the public ones below SYSGYM_DATA, and records checksums, content hashes, sizes and reference costs: what our
own baselines reach, measured here, and the figures recorded beside the public data. With the word `freed` it measures
no more than what annealed hard macros with freed soft ones reach, and with the word `ibm01r` that set alone; both leave
the rest of the index as it is.
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

from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import format_plc
from sysgym.chip_placement.generate import generate_chip, optimum
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.load import read_chip
from sysgym.chip_placement.problem import FREE
from sysgym.core.data import decompress
from sysgym.core.errors import UsageError
from sysgym.core.problem import content_hash
from sysgym.core.registry import make_problem
from sysgym_agents.chip_placement.forces import Freed
from sysgym_agents.chip_placement.placers import SAPlacer
from sysgym_agents.chip_placement.wiremask import GreedyWireMask, WireMaskEA
from sysgym_agents.core import Budget

ROOT = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "chip"
TILES = {
    "train": ("rows=2,columns=2,soft=1,ports=2,seed=1", "rows=2,columns=3,soft=2,ports=3,seed=2"),
    "valid": ("rows=3,columns=3,soft=3,ports=4,seed=3", "rows=3,columns=4,pitch=2,soft=4,ports=6,seed=4"),
    "test": ("rows=4,columns=4,pitch=2,soft=6,ports=8,seed=5", "rows=5,columns=5,pitch=2,soft=8,ports=10,seed=6",
             "rows=6,columns=8,pitch=2,slack=2,soft=20,ports=16,seed=7"),
}  # fmt: skip
PACKAGED = {"mempool_tile_NanGate45": "train", "mempool_tile_ASAP7": "valid", "ariane133_NanGate45": "test"}
CT = {  # families do not straddle the splits
    "mempool_tile_NanGate45": "train", "nvdla_NanGate45": "train", "nvdla_ASAP7": "train",
    "mempool_tile_ASAP7": "valid", "ariane133_NanGate45": "test", "ariane136_NanGate45": "test",
    "ariane133_SKY130HD": "test",
}  # fmt: skip
RECORDED = {  # TILOS' C++ annealer, 60 x 20N moves, seed 1: README beside the public data
    "ariane133_NanGate45": 0.677877, "ariane136_NanGate45": 0.688087, "mempool_tile_NanGate45": 0.894255,
    "nvdla_NanGate45": 0.708226, "mempool_tile_ASAP7": 1.19831, "nvdla_ASAP7": 0.845290,
}  # fmt: skip
FLOORPLANS = {"mcnc": ("apte", "xerox", "hp", "ami33", "ami49"), "gsrc": ("n10", "n30", "n50", "n100", "n200", "n300")}
ABOUT = {
    "tiles": ("embedded", "MIT", "4 to 48 square macros whose shortest wiring is known"),
    "designs": (
        "embedded",
        "BSD-3-Clause (TILOS MacroPlacement)",
        "three clustered designs in Circuit Training's form",
    ),
    "ct": ("public", "BSD-3-Clause (TILOS MacroPlacement)", "seven clustered designs with recorded costs"),
    "ibm01": ("public", "public academic benchmark, no licence text", "IBM-MS mixed-size circuit, macros only"),
    "ibm01r": (
        "public",
        "made from ibm01 (no licence text) with shapes of TILOS MacroPlacement (BSD-3-Clause)",
        "ibm01 grouped as the README beside it says, a stand-in for ICCAD04's",
    ),
    "mcnc": ("public", "public academic benchmark, no licence text", "block packing, 9 to 49 blocks"),
    "gsrc": ("public", "public academic benchmark, no licence text", "block packing, 10 to 300 blocks"),
}


def solve(name: str, agent: Any, chip: Chip, steps: int | None, **options: Any) -> dict[str, float]:
    """Cost that a baseline reaches with seed 1, under its name; empty where it finds nothing legal."""
    problem = make_problem("ChipPlacement", **options)
    try:
        verdict = problem.judge(chip, agent.solve(problem, chip, np.random.default_rng(1), Budget(steps=steps)))
    except UsageError as error:
        print(f"{chip.name} {name}: {error}", file=sys.stderr, flush=True)
        return {}
    print(f"{chip.name} {name} {options} {verdict.cost:.6g} {verdict.feasible}", file=sys.stderr, flush=True)
    return {name: float(f"{verdict.cost:.8g}")} if verdict.feasible else {}


def references(chip: Chip, recorded: dict[str, float], known: float | None, proxy: bool) -> dict[str, Any]:
    """Reference costs of both objectives."""
    hpwl = {} if known is None else {"optimum": known}
    hpwl |= solve("wiremask-ea", WireMaskEA(), chip, 1000, mode="hpwl")
    hpwl |= solve("wiremask", GreedyWireMask(), chip, None, mode="hpwl")
    found: dict[str, Any] = {"objective=hpwl": hpwl}
    if proxy:
        found["objective=proxy"] = {**solve("sa-placer", SAPlacer(), chip, None), **freed(chip), **recorded}
    return found


def freed(chip: Chip) -> dict[str, float]:
    """What is compared with answers whose soft macros are free."""
    return solve(FREE.reference, Freed(), chip, None) if chip.has_soft else {}


def add_freed(index: dict[str, Any], names: list[str]) -> None:
    """Measure `freed` anew for sets of the index; chips of the same content once."""
    problem, known = make_problem("ChipPlacement"), dict[str, dict[str, float]]()
    for name in names:
        for short, told in index[name]["instances"].items():
            costs = told["references"].get("objective=proxy")
            if costs is not None:
                costs.pop(FREE.reference, None)
                first = {key: costs[key] for key in ("sa-placer",) if key in costs}
                found = known.setdefault(told["hash"], {}) or freed(problem.load(f"{name}/{short}"))
                known[told["hash"]] = found
                told["references"]["objective=proxy"] = {**first, **found, **costs}


def member(file: Path, root: Path) -> dict[str, str]:
    """A file as the index names it."""
    data = decompress(file.name, file.read_bytes())
    return {"file": str(file.relative_to(root)), "sha256": hashlib.sha256(data).hexdigest(), "url": ""}


def entry(
    chip: Chip, files: list[Path], root: Path, split: str, recorded: dict[str, float] | None = None,
    known: float | None = None, proxy: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """One row of the index."""
    first, *others = [member(file, root) for file in files]
    return {
        "split": split, **first, "companions": others, "hash": content_hash(chip), "nodes": len(chip.graph.nodes),
        "edges": len(chip.graph.edges) // 2, "references": references(chip, recorded or {}, known, proxy),
    }  # fmt: skip


def store(path: Path, content: bytes) -> Path:
    """Write a packaged file, gzipped without a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0) if path.suffix == ".gz" else content)
    return path


def tiles() -> dict[str, Any]:
    """Generated chips, written as files of Circuit Training's form."""
    rows = {}
    for split, recipes in TILES.items():
        for i, recipe in enumerate(recipes):
            chip = generate_chip(f"tiles:{recipe}")
            short, folder = f"{split}-{i}", ROOT / "tiles"
            text = format_netlist(chip.netlist, chip.placement)
            netlist = store(folder / f"{short}.pb.txt.gz", text.encode())
            plc = store(folder / f"{short}.plc", format_plc(chip.netlist, chip.canvas, chip.placement).encode())
            chip = read_chip(netlist, str(plc), f"tiles/{short}")
            rows[short] = entry(chip, [netlist, plc], ROOT, split, known=optimum(f"tiles:{recipe}"))
    return rows


def ct(public: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The designs of Circuit Training's form: those in the package, and all."""
    packaged, rows = {}, {}
    for short, split in CT.items():
        files = [public / "ct" / short / name for name in ("netlist.pb.txt.gz", "initial.plc")]
        recorded = {"tilos-sa": RECORDED[short]} if short in RECORDED else {}
        chip = read_chip(files[0], str(files[1]), f"ct/{short}")
        rows[short] = entry(chip, files, public, split, recorded)
        if short in PACKAGED:
            netlist = store(ROOT / "designs" / f"{short}.pb.txt.gz", decompress("", files[0].read_bytes()))
            plc = store(ROOT / "designs" / f"{short}.plc", files[1].read_bytes())
            first, second = member(netlist, ROOT), member(plc, ROOT)
            packaged[short] = {**rows[short], "split": PACKAGED[short], **first, "companions": [second]}
    return packaged, rows


def others(public: Path) -> dict[str, dict[str, Any]]:
    """ibm01 and the floorplans."""
    stem = public / "bookshelf" / "ibm01"
    files = [stem.with_suffix(f".{part}.gz") for part in ("nodes", "nets", "pl", "scl")]
    chip = read_chip(files[0], None, "ibm01/ibm01")
    found: dict[str, dict[str, Any]] = {"ibm01": {"ibm01": entry(chip, files, public, "test", proxy=False)}}
    for name, members in FLOORPLANS.items():
        found[name] = {}
        for i, short in enumerate(members):
            files = [public / "floorplan" / f"{short}.{part}" for part in ("block", "nets")]
            chip = read_chip(files[0], None, f"{name}/{short}")
            split = ("train", "valid", "test")[i * 3 // len(members)]
            found[name][short] = entry(chip, files, public, split)
    return found


def ibm01r(public: Path) -> dict[str, Any]:
    """ibm01, its cells grouped, with the proxy of the placement that it comes with (`start`)."""
    files = [public / "ibm01r" / name for name in ("netlist.pb.txt.gz", "initial.plc")]
    chip = read_chip(files[0], str(files[1]), "ibm01r/ibm01r")
    places = {key: getattr(chip.placement, key)[chip.macros] for key in ("x", "y", "orientation")}
    proxy = make_problem("ChipPlacement").judge(chip, places).metrics["proxy"]
    return {"ibm01r": entry(chip, files, public, "test", {"start": float(f"{proxy:.8g}")})}


def described(name: str, rows: dict[str, Any]) -> dict[str, Any]:
    """A set as the index holds it."""
    source, licence, about = ABOUT[name]
    return {"version": 1, "source": source, "licence": licence, "about": about, "instances": rows}


def main() -> None:
    """Write the packaged chips and `index.json`."""
    if sys.argv[1:] == ["ibm01r"]:
        index = json.loads((ROOT / "index.json").read_text())
        index["ibm01r"] = described("ibm01r", ibm01r(Path(os.environ["SYSGYM_DATA"]) / "chip"))
        (ROOT / "index.json").write_text(json.dumps({name: index[name] for name in ABOUT}, indent=1) + "\n")
        return
    if sys.argv[1:2] == ["freed"]:
        index = json.loads((ROOT / "index.json").read_text())
        add_freed(index, sys.argv[2:] or list(index))
        (ROOT / "index.json").write_text(json.dumps(index, indent=1) + "\n")
        return
    public = Path(os.environ["SYSGYM_DATA"]) / "chip"
    sets = {"tiles": tiles()}
    sets["designs"], sets["ct"] = ct(public)
    sets |= {"ibm01r": ibm01r(public), **others(public)}
    index = {name: described(name, sets[name]) for name in ABOUT}
    (ROOT / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
