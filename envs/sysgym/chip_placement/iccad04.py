"""The ICCAD04 circuits of TILOS' MacroPlacement, for who has them: folders, and the public costs of each circuit.

A circuit is a folder `ibm01` with `netlist.pb.txt` (or `ibm01.pb.txt`) and `initial.plc`. The public costs of
17 circuits are `data/chip/iccad04.json`, with where each is from; they are told of a netlist that has the name of a
circuit, the counts that are known of it, and the canvas' routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.chip_placement.formats.netlist import HARD, PORT, SOFT
from sysgym.chip_placement.instance import Chip
from sysgym.core.errors import announce

START = "initial.plc"
ENDINGS = (".pb.txt", ".pb.txt.gz")
KINDS = {"hard": HARD, "ports": PORT, "soft": SOFT}


def design_in(folder: Path) -> Path | None:
    """The netlist of a folder that is one design; None for any other folder.

    It is `netlist.pb.txt` or a netlist of the folder's name, beside an `initial.plc`, and there is no other netlist.
    """
    name = folder.resolve().name
    wanted = [f"{stem}{ending}" for stem in ("netlist", name) for ending in ENDINGS]
    try:
        found = {file.name for file in folder.iterdir() if file.name.endswith(ENDINGS)}
        if not (folder / START).is_file() or not found <= set(wanted):
            return None
    except OSError:
        return None
    first = next((each for each in wanted if each in found), None)
    return None if first is None else folder.resolve() / first


@cache
def published() -> Mapping[str, Any]:
    """The table as the file holds it."""
    found: Mapping[str, Any] = json.loads((files("sysgym") / "data" / "chip" / "iccad04.json").read_text())
    return found


def figures() -> tuple[dict[str, str], ...]:
    """The table as figures of the literature, each with `where`, `quantity`, `value` and `source`."""
    told = published()
    return tuple(
        {"where": f"ICCAD04 {name}", "quantity": f"proxy of {who}", "value": f"{cost:.4f}", "source": source}
        for name, circuit in told["circuits"].items()
        for (who, source), cost in zip(told["columns"].items(), circuit["costs"], strict=True)
        if cost is not None
    )


def unlike(chip: Chip) -> str | None:
    """What of a chip is not as in the circuit of its name, '' if all is; None if its name is that of no circuit."""
    told = published()
    circuit = told["circuits"].get(chip.netlist.name.lower())
    if circuit is None:
        return None
    canvas, constants = chip.canvas, told["constants"]
    pairs: list[tuple[str, Any, Any]]
    pairs = [(key, int((chip.netlist.kind == kind).sum()), circuit.get(key)) for key, kind in KINDS.items()]
    pairs.append(("grid", [canvas.columns, canvas.rows], circuit.get("grid")))
    pairs += [(key, list(getattr(canvas, key)), constants[key]) for key in ("routes", "macro_routes")]
    pairs.append(("smoothing", canvas.smoothing, constants["smoothing"]))
    wrong = [f"{key} {found} (there {known})" for key, found, known in pairs
             if known is not None and not np.allclose(found, known, rtol=1e-4)]  # fmt: skip
    return ", ".join(wrong)


def public_costs(chip: Chip) -> dict[str, float]:
    """Costs of the proxy by who reached them, of the circuit that a chip is; none where it is no such circuit."""
    if unlike(chip) != "":
        return {}
    told = published()
    costs = told["circuits"][chip.netlist.name.lower()]["costs"]
    return {who: cost for who, cost in zip(told["columns"], costs, strict=True) if cost is not None}


def say_unlike(chip: Chip) -> None:
    """Announce that a chip has the name of a circuit and is another."""
    wrong = unlike(chip)
    if wrong:
        announce(
            f"{chip.name} has the name of an ICCAD04 circuit and is another: {wrong}; the public costs of "
            f"{chip.netlist.name} are not shown beside its own."
        )
