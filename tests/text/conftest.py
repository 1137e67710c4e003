"""Small random models of every kind, and the public data of decoding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import PUBLIC

from sysgym.core.problem import Array
from sysgym.text.model import Special, TextModel
from sysgym.text.model_files import built
from sysgym.text.models.config import Config, RecurrentConfig, TransformerConfig
from sysgym.text.vocabulary import CharacterVocabulary

SMALL = {"embedding": 12, "units": 16, "attention_units": 20}
REFERENCE = {"embedding": 16, "decoder_depth": 1, "recurrent_bias": True, "attention_bias": False, "feed": "none",
             "attention_scale": True, "attention_values": True, "bridge": "tanh", "tied": True}  # fmt: skip
RECURRENT: dict[str, dict[str, Any]] = {
    "baseline": {},
    "lstm-dense": {"cell": "lstm", "encoder_depth": 4, "decoder_depth": 3, "encoder_residual": "dense",
                   "decoder_residual": "dense"},
    "vanilla-decoder-add": {"decoder_cell": "vanilla", "decoder_residual": "add", "attention": "additive"},
    "reversed": {"encoder": "reversed", "encoder_residual": "add", "bridge": "linear"},
    "unidirectional-lstm": {"encoder": "unidirectional", "cell": "lstm", "bridge": "tanh", "recurrent_bias": True},
    "none-state": {"attention": "none", "feed": "none", "bridge": "linear"},
    "none-input": {"attention": "none", "feed": "final"},
    "self-attention": {"self_attention": True, "attention": "additive"},
    "reference": REFERENCE,
}  # fmt: skip
KINDS = (*RECURRENT, "transformer")


def config_named(kind: str, vocabulary: int) -> Config:
    sizes = {"source_vocabulary": vocabulary, "target_vocabulary": vocabulary}
    if kind == "transformer":
        return TransformerConfig(**sizes, encoder_layers=2, decoder_layers=2, width=16, heads=4, inner=24)
    return RecurrentConfig(**{**sizes, **SMALL, **RECURRENT[kind]})


def random_model(kind: str, letters: str = "abcdefgh", seed: int = 0, spread: float = 0.5, **special: Any) -> TextModel:
    """A model of random weights over an alphabet."""
    lines = ["<blank>", "<s>", "</s>", *letters]
    vocabulary = CharacterVocabulary(kind, "\n".join(lines).encode())
    config, rng = config_named(kind, vocabulary.size), np.random.default_rng(seed)
    config.check()
    tensors = {
        name: (rng.standard_normal(shape) * spread).astype(np.float32) for name, shape in config.shapes().items()
    }
    return built(kind, config, tensors, (vocabulary, vocabulary), special=Special(**special), max_length=12)


@pytest.fixture(scope="session")
def toy() -> Callable[..., TextModel]:
    return random_model


@pytest.fixture(params=KINDS)
def every(request: pytest.FixtureRequest) -> TextModel:
    """A random model of each kind."""
    return random_model(request.param)


@pytest.fixture
def sentences() -> list[Array]:
    """Sources of 1 to 30 tokens of the eight letters."""
    rng = np.random.default_rng(5)
    return [rng.integers(3, 11, size=size) for size in (7, 1, 30, 16, 2, 9, 8, 23, 5, 12, 17, 3)]


@pytest.fixture(scope="session")
def decoding_data(public_data: Path) -> Path:
    """The public data of decoding."""
    if not (public_data / "decoding").is_dir():
        pytest.skip("SYSGYM_DATA holds no decoding")
    return PUBLIC / "decoding"


@pytest.fixture(scope="session")
def golden(decoding_data: Path) -> Callable[[str], Any]:
    """Stored answers of other programs."""
    return lambda name: json.loads((decoding_data / name).read_text())
