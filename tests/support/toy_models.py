"""A small network over the characters of words, about to be trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym.text.model import Special, TextModel
from sysgym.text.model_files import built
from sysgym_agents.decoding.training.batches import examples_of
from sysgym_agents.decoding.training.setting import wanted
from sysgym_agents.decoding.training.texts import Pairs, make_vocabulary, separator_of
from sysgym_agents.decoding.training.training import Training

TOY = {"dropout": 0.0, "label_smoothing": 0.0, "batch": 256, "learning_rate": 0.02, "warmup": 10,
       "precision": "float32", "vocabulary": "characters"}  # fmt: skip
NETWORK = {"embedding": 32, "units": 32, "attention_units": 32, "decoder_depth": 1}


def words(count: int = 900) -> list[str]:
    rng = np.random.default_rng(0)
    drawn = ("".join(rng.choice(list("abcdef"), size=rng.integers(2, 6))) for _ in range(count))
    return list(dict.fromkeys(drawn))


def prepared(network: dict[str, Any], pairs: Pairs, held: int = 60, **numbers: Any) -> tuple[TextModel, Training]:
    """A model over the characters of pairs, and its training, the last pairs held out."""
    want = wanted({**TOY, **numbers}, network)
    pieces = make_vocabulary("characters", pairs, 0, want.setting.segment > 0)
    config, segment = want.config(pieces.size), want.setting.segment
    empty = {name: np.zeros(shape, dtype=np.float32) for name, shape in config.shapes().items()}
    special = Special(separator=separator_of("characters") if segment else -1, segment=segment)
    model = built("toy", config, empty, (pieces, pieces), special=special, max_length=30)
    count = len(pairs.sources)
    sides = (pairs.take(range(count - held)), pairs.take(range(count - held, count)))
    train, valid = (examples_of(model, side)[0] for side in sides)
    return model, Training(config, want.setting, 0, train, valid)
