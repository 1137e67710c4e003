"""The stand-in ibm01r, folders laid out as MacroPlacement's ICCAD04, and the public costs beside a verdict."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym import content_hash, make_problem
from sysgym.chip_placement import iccad04
from sysgym.chip_placement.formats.netlist import HARD, PORT, SOFT
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import format_plc
from sysgym.chip_placement.generate import generate_chip
from sysgym.chip_placement.instance import Chip
from sysgym.core.errors import Notice
from sysgym.core.instances import expand

Inline = Callable[..., Any]
PUBLISHED = iccad04.published()
MEANS = {"simulated annealing": 2.1251, "RePlAce": 1.4578, "aaholmes": 1.0155}  # as their sources print them


def solution(chip: Chip) -> dict[str, Any]:
    return {key: getattr(chip.placement, key)[chip.macros] for key in ("x", "y", "orientation")}


@pytest.fixture
def circuits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two circuits in the layout of `Testcases/ICCAD04`: made-up ones, which the table is told of."""
    told = json.loads(json.dumps(PUBLISHED))
    for name, file in (("ibm01", "netlist.pb.txt"), ("ibm02", "ibm02.pb.txt.gz")):
        chip = generate_chip("tiles:rows=2,columns=3,soft=4,ports=4,seed=3")
        constants = told["constants"]
        canvas = replace(chip.canvas, routes=tuple(constants["routes"]), macro_routes=tuple(constants["macro_routes"]),
                         smoothing=constants["smoothing"])  # fmt: skip
        folder = tmp_path / "ICCAD04" / name
        folder.mkdir(parents=True)
        text = format_netlist(chip.netlist, chip.placement).encode()
        (folder / file).write_bytes(gzip.compress(text) if file.endswith("gz") else text)
        (folder / "initial.plc").write_text(format_plc(chip.netlist, canvas, chip.placement))
        kinds = {"hard": HARD, "ports": PORT, "soft": SOFT}
        counts = {key: int((chip.netlist.kind == kind).sum()) for key, kind in kinds.items()}
        told["circuits"][name] |= {**counts, "grid": [canvas.columns, canvas.rows]}
    monkeypatch.setattr(iccad04, "published", lambda: told)
    return tmp_path / "ICCAD04"


def test_the_table_has_the_means_that_its_sources_print() -> None:
    columns = list(PUBLISHED["columns"])
    rows = [circuit["costs"] for circuit in PUBLISHED["circuits"].values()]
    assert len(rows) == 17 and all(len(row) == len(columns) for row in rows)
    for who, mean in MEANS.items():
        assert np.mean([row[columns.index(who)] for row in rows]) == pytest.approx(mean, abs=5.1e-5)
    assert all(PUBLISHED["columns"].values()) and PUBLISHED["constants"]["source"]


def test_the_table_is_told_as_published_figures() -> None:
    told = make_problem("ChipPlacement").published
    assert len(told) == 17 * len(PUBLISHED["columns"]) - 1
    assert {"where": "ICCAD04 ibm09", "quantity": "proxy of RePlAce", "value": "1.1194",
            "source": PUBLISHED["columns"]["RePlAce"]} in told  # fmt: skip


def test_a_folder_is_an_instance(circuits: Path) -> None:
    problem = make_problem("ChipPlacement")
    chip = problem.load(str(circuits / "ibm01"))
    assert content_hash(chip) == content_hash(problem.load(str(circuits / "ibm01" / "netlist.pb.txt")))
    assert content_hash(chip) == content_hash(problem.load(str(circuits / "ibm02")))
    known = problem.reference_costs(chip)
    assert list(known) == list(PUBLISHED["columns"]) and known["start"] == 1.0409 and known["RePlAce"] == 0.9976
    assert problem.reference_costs(problem.load(str(circuits / "ibm02")))["start"] == 1.57
    assert make_problem("ChipPlacement", square_soft=False).reference_costs(chip) == known
    for other in ({"objective": "hpwl"}, {"density_weight": 1.0}, {"smoothing": 0}, {"grid": 9}):
        changed = make_problem("ChipPlacement", **other)
        assert changed.reference_costs(changed.load(str(circuits / "ibm01"))) == {}


def test_a_circuit_that_lacks_a_figure(circuits: Path) -> None:
    known = PUBLISHED["circuits"]["ibm18"]["costs"]
    assert known[-1] is None
    iccad04.published()["circuits"]["ibm01"]["costs"] = known
    problem = make_problem("ChipPlacement")
    found = problem.reference_costs(problem.load(str(circuits / "ibm01")))
    assert list(found) == list(PUBLISHED["columns"])[:-1] and found["start"] == known[0]


def test_another_chip_of_the_same_name_is_told(circuits: Path) -> None:
    problem = make_problem("ChipPlacement")
    shutil.copytree(circuits / "ibm01", circuits / "ibm10")
    with pytest.warns(Notice, match=r"is another: hard 6 \(there 786\); the public costs of ibm10"):
        chip = problem.load(str(circuits / "ibm10"))
    assert problem.reference_costs(chip) == {}
    text = (circuits / "ibm02" / "initial.plc").read_text()
    (circuits / "ibm02" / "initial.plc").write_text(text.replace("hor : 65.957", "hor : 70.33"))
    with pytest.warns(Notice, match=r"is another: routes \[70\.33, 106\.957\] \(there \[65\.957, 106\.957\]\)"):
        problem.load(str(circuits / "ibm02"))


def test_folders_of_files_stay_folders_of_files(circuits: Path, tmp_path: Path) -> None:
    problem = make_problem("ChipPlacement")
    assert expand({}, str(circuits / "ibm01"), problem.reads) == [str(circuits / "ibm01")]
    assert not problem.reads(str(circuits), b"")
    mixed = tmp_path / "mixed"
    shutil.copytree(circuits / "ibm01", mixed)
    shutil.copy(mixed / "netlist.pb.txt", mixed / "second.pb.txt")
    assert len(expand({}, str(mixed), problem.reads)) == 2  # each netlist, with the placement beside
    (mixed / "second.pb.txt").unlink()
    (mixed / "initial.plc").unlink()
    assert not problem.reads(str(mixed), b"")


def test_the_clustered_netlist_is_taken_where_the_full_one_lies_beside(circuits: Path) -> None:
    (circuits / "ibm01" / "ibm01.pb.txt").write_text("node { name: 'full' }")
    found = iccad04.design_in(circuits / "ibm01")
    assert found is not None and found.name == "netlist.pb.txt" and iccad04.design_in(circuits / "none") is None


def test_judge_shows_the_public_costs(inline: Inline, circuits: Path) -> None:
    folder = str(circuits / "ibm01")
    inline("solve", folder, "-a", "spiral", "-o", "x.plc")
    row = json.loads(inline("judge", folder, "x.plc", "--json").stdout)
    assert row["feasible"] and row["references"] == make_problem("ChipPlacement").reference_costs(
        make_problem("ChipPlacement").load(folder)
    )
    said = inline("judge", folder, "x.plc").stdout
    assert f"known cost           1.041 of start, ratio {row['cost'] / 1.0409:.4g}" in said
    assert said.count("known cost") == len(PUBLISHED["columns"])


@needs_chip
def test_ibm01r_starts_at_its_proxy() -> None:
    problem = make_problem("ChipPlacement")
    chip = problem.load("ibm01r/ibm01r")
    kinds = np.bincount(chip.netlist.kind, minlength=3)
    assert (kinds[HARD], kinds[PORT], kinds[SOFT]) == (246, 246, 956) and chip.netlist.weight.sum() == 7515
    assert (chip.canvas.width, chip.canvas.height, chip.canvas.columns, chip.canvas.rows) == (22.95, 23.04, 45, 41)
    found = problem.judge(chip, solution(chip)).metrics
    assert round(found["proxy"], 4) == 1.0221
    parts = [round(found[f"{key}_cost"], 4) for key in ("wirelength", "density", "congestion")]
    assert parts == [0.0772, 0.7832, 1.1065]
    assert problem.reference_costs(chip)["start"] == pytest.approx(found["proxy"], rel=1e-7)


@needs_chip
def test_ibm01r_is_never_taken_for_ibm01(tmp_path: Path) -> None:
    shutil.copytree(CHIP / "ibm01r", tmp_path / "ibm01")
    problem = make_problem("ChipPlacement")
    with pytest.warns(Notice, match=r"is another: soft 956 \(there 894\)"):
        chip = problem.load(str(tmp_path / "ibm01"))
    assert problem.reference_costs(chip) == {}
    assert content_hash(chip) == content_hash(problem.load("ibm01r/ibm01r"))
