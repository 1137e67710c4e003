"""Workloads against the totals and graphs that were derived elsewhere."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import PUBLIC

from sysgym import UsageError
from sysgym.accelerator_design.catalogue import MULTI5, NETWORKS, load_workloads
from sysgym.accelerator_design.instance import COLUMNS, DWCONV, KINDS, joined

FOLDER = PUBLIC / "accelerator"


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.skipif(not FOLDER.is_dir(), reason="SYSGYM_DATA names no public data")
def test_totals_are_those_of_the_models() -> None:
    table = rows("workload_totals.csv")
    assert {row["workload"] for row in table} == {*NETWORKS}
    for row in table:
        work = NETWORKS[row["workload"]]()
        written = int(work.elems[work.out].sum())
        found = {
            "regions": len(work.kind), "macs": work.macs.sum(), "depthwise_macs": work.macs[work.kind == DWCONV].sum(),
            "params_incl_bn_stats": work.params[0], "matrix_weight_elems": work.weights.sum(),
            "activation_out_elems": written, "activation_traffic_elems": written + work.elems[work.in_tensor].sum(),
            "vector_ops": work.vec_ops.sum(),
        }  # fmt: skip
        assert {key: int(value) for key, value in found.items()} == {key: int(row[key]) for key in found}, work.name


@pytest.mark.skipif(not FOLDER.is_dir(), reason="SYSGYM_DATA names no public data")
def test_every_region_and_tensor() -> None:
    files = sorted((FOLDER / "workloads").glob("*.json.gz"))
    assert len(files) >= 10
    for file in files:
        told: dict[str, Any] = json.loads(gzip.decompress(file.read_bytes()))
        work = NETWORKS[told["name"]]()
        assert work.elems.tolist() == [tensor["elems"] for tensor in told["tensors"]]
        assert work.producer.tolist() == [tensor["producer"] for tensor in told["tensors"]]
        for i, region in enumerate(told["regions"]):
            kind = "softmax" if "softmax" in region["name"] else region["kind"]
            reads = work.in_tensor[work.in_ptr[i] : work.in_ptr[i + 1]].tolist()
            assert (KINDS[work.kind[i]], work.regions[i], reads, int(work.out[i])) == (
                kind, region["name"], list(dict.fromkeys(region["inputs"])), region["output"]
            )  # fmt: skip
            assert work.shape[i].tolist() == [region[column] for column in COLUMNS]
            numbers = (int(work.macs[i]), int(work.weights[i]), int(work.vec_ops[i]))
            assert numbers == (region["macs"], region["weight_elems"], region["vec_ops"])


def test_several_networks_are_one_instance() -> None:
    whole, parts = load_workloads("fast/multi5"), [NETWORKS[name]() for name in MULTI5]
    assert whole.networks == MULTI5 and whole.macs.sum() == sum(part.macs.sum() for part in parts)
    assert np.diff(whole.first).tolist() == [len(part.kind) for part in parts]
    for i in (0, 330, len(whole.kind) - 1):  # producers stay within their network
        made = whole.producer[whole.in_tensor[whole.in_ptr[i] : whole.in_ptr[i + 1]]]
        assert all(producer < 0 or whole.network[producer] == whole.network[i] for producer in made.tolist())
    assert (joined("twice", [parts[0], parts[0]]).macs.reshape(2, -1) == parts[0].macs).all()


def test_recipes() -> None:
    assert load_workloads("bert:tokens=128").macs.sum() == NETWORKS["bert-base-128"]().macs.sum()
    assert len(load_workloads("cnn:seed=3,blocks=6").kind) > len(load_workloads("cnn:seed=3,blocks=2").kind)
    for word, sentence in (
        ("bert:token=5", "unknown option of bert 'token'. Did you mean 'tokens'"),
        ("bert:tokens=0", "tokens must be a whole number from 1 to 16384, got '0'"),
        ("fast/efficientnet-b9", "Did you mean 'fast/efficientnet-b"),
    ):
        with pytest.raises(UsageError, match=sentence):
            load_workloads(word)


def test_topologies_of_scalesim(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    head = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
    path.write_text(head + "one, 10, 12, 3, 3, 8, 16, 2,\ntwo, 1, 1, 1, 1, 16, 10, 1,\n")
    work = load_workloads(str(path))
    assert work.macs.tolist() == [5 * 6 * 9 * 8 * 16, 160] and work.regions == ("one", "two")  # rounded up, 5 x 6
    for line, sentence in (
        ("one, 10, x, 3, 3, 8, 16, 2,", "line 2: expected name, IFMAP height"),
        ("one, 2, 2, 3, 3, 8, 16, 2,", "line 2: sizes must be positive and a filter no larger"),
        ("", "holds no layer"),
    ):
        path.write_text(head + line + "\n")
        with pytest.raises(UsageError, match=sentence):
            load_workloads(str(path))
