"""Sizes of the networks: those that Britz et al. (2017) published."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from sysgym.core.errors import UsageError
from sysgym.text.models.config import RecurrentConfig, config_of, options_of, parameter_count

VOCABULARY = 37_007
OF = {
    "dec_cell": "decoder_cell", "enc_depth": "encoder_depth", "dec_depth": "decoder_depth", "emb_dim": "embedding",
    "cell": "cell",
}  # fmt: skip
INCONSISTENT = {"Dec-8-Res", "Dec-8-ResD", "None-Input"}  # the published size is not that of the published network


def options(row: dict[str, str]) -> dict[str, Any]:
    """The options of one line of the ablation tables."""
    changed, value = row["changed"], row["value"]
    if changed in OF:
        return {OF[changed]: int(value) if value.isdigit() else value}
    if changed.endswith("_residual"):
        depth, _, kind = value.partition("+")
        side = {"enc": "encoder", "dec": "decoder"}[changed[:3]]
        return {f"{side}_depth": int(depth), f"{side}_residual": {"res": "add", "resd": "dense"}[kind]}
    if changed == "encoder":
        kind, depth, *turned = value.split("-")
        name = "reversed" if turned else {"bidi": "bidirectional", "uni": "unidirectional"}[kind]
        return {"encoder": name, "encoder_depth": int(depth)}
    if value.startswith("none"):
        none = {"none-state": {"feed": "none", "bridge": "linear"}, "none-input": {"feed": "final"}}
        return {"attention": "none", **none[value]}
    kind, units = value.split("-")
    return {"attention": {"mul": "multiplicative", "add": "additive"}[kind], "attention_units": int(units)}


def test_published_sizes(decoding_data: Path) -> None:
    with (decoding_data / "britz2017" / "ablations.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["changed"] != "beam+lp"]
    equal = set()
    for row in rows:
        config = RecurrentConfig(source_vocabulary=VOCABULARY, target_vocabulary=VOCABULARY, **options(row))
        difference = abs(parameter_count(config) / 1e6 - float(row["params_M"]))
        if row["variant"] not in INCONSISTENT:
            assert difference <= 0.005 + 1e-9, (row["variant"], parameter_count(config))
            equal.add(row["variant"].removesuffix(" (baseline)"))
        else:
            assert difference < 1.0
    assert len(equal) >= 24


def test_a_configuration_is_read_back_as_it_was_written() -> None:
    config = RecurrentConfig(source_vocabulary=9, target_vocabulary=11, cell="lstm", self_attention=True)
    assert config_of(*options_of(config)) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cells": "gru"}, "Did you mean 'cell'"),
        ({"cell": "gruu"}, "cell is 'gruu'; it may be gru, lstm, vanilla"),
        ({"units": 2.0}, "units is 2.0; it takes a int"),
        ({"units": 0}, "units is 0; it may be 1"),
        ({"encoder_depth": 3}, "an even depth"),
        ({"attention": "none"}, "no context to feed"),
        ({"tied": True, "embedding": 4}, "as many units"),
        ({"target_vocabulary": 5, "tied": True}, "one vocabulary"),
    ],
)
def test_what_does_not_go_together_is_told(given: dict[str, Any], said: str) -> None:
    sizes = {"source_vocabulary": 9, "target_vocabulary": 9}
    with pytest.raises(UsageError, match=said):
        config_of("recurrent", {**sizes, **given})
    with pytest.raises(UsageError, match="unknown kind of network"):
        config_of("recurent", sizes)
    with pytest.raises(UsageError, match="target_vocabulary is missing"):
        config_of("recurrent", {"source_vocabulary": 9})
