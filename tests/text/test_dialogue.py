"""The packaged model of dialogue is what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sysgym.text.catalogue import load_model, packaged_folder
from sysgym.text.models.config import parameter_count
from sysgym.text.scoring import score
from sysgym.text.search import Beam
from sysgym.text.segments import segment_beams
from sysgym.text.vocabulary import MAX_PIECES
from sysgym_zoo.tools.modelling.corpus import Files, load_model_recipe, read_corpus

FOLDER = packaged_folder() / "dialogue"
CARD = json.loads((FOLDER / "training.json").read_text())


def test_it_is_the_model_of_its_card() -> None:
    model, recipe = load_model("dialogue"), load_model_recipe("dialogue")
    assert model.hash == CARD["model_hash"] and parameter_count(model.config) == CARD["parameters"] == 1_771_168
    assert (model.special.segment, model.special.separator, model.max_length) == (10, 4, 50)
    assert CARD["command"] == "sysgym train-model dialogue --seed 0 --out FOLDER" and CARD["started"] == 1
    assert {each["file"]: each["sha256"] for each in CARD["data"]} == recipe.sha256
    assert all(CARD["training"][key] == value for key, value in recipe.training.items())
    assert "BSD" in model.licence and "BSD 3-Clause License" in (FOLDER / "LICENSE").read_text()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4.5e6


def test_it_answers() -> None:
    model = load_model("dialogue")
    messages = ["who are your favorite artists", "I love the Beatles.", "Did you watch the game last night?"]
    written, _ = segment_beams(model, [model.ids(text) for text in messages], Beam(width=1))
    texts = [model.text(each.tokens) for each in written]
    assert all(len(text.split()) >= 2 for text in texts) and all(each.ended for each in written)


@pytest.mark.slow
def test_its_perplexity_is_that_of_the_card(public_data: Path) -> None:
    """By the engine that decodes, on the conversations held out."""
    model, valid = load_model("dialogue"), read_corpus(load_model_recipe("dialogue"), Files()).valid
    pairs = [(model.source.encode(a, None), model.target.encode(b, None)) for a, b in zip(*valid, strict=True)]
    pairs = [(a, b) for a, b in pairs if len(a) <= MAX_PIECES and len(b) < model.max_length]
    assert len(pairs) == CARD["pairs"]["valid"]
    logp = score(model, [a for a, _ in pairs], [b for _, b in pairs])
    assert np.exp(-logp.sum() / sum(len(b) + 1 for _, b in pairs)) == pytest.approx(CARD["scores"]["perplexity"], 1e-4)
