"""Models by name: those in the package, reference checkpoints among the public data, and folders of one's own.

`data/decoding/models.json` lists the public ones: checkpoint and vocabulary with checksums, network, special tokens.
"""

from __future__ import annotations

import io
import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import DataFile, find, read
from sysgym.core.errors import UsageError, reading, unknown
from sysgym.core.problem import Array
from sysgym.text.model import Special, TextModel
from sysgym.text.model_files import built, fitted_tensors, is_model_folder, read_model
from sysgym.text.models.config import config_of
from sysgym.text.vocabulary import SentencePieceVocabulary

TOPIC = "decoding"
CELL = {"weight_ih_l0": "input", "weight_hh_l0": "recurrent", "bias_ih_l0": "bias", "bias_hh_l0": "recurrent_bias"}
OF_CHECKPOINT = {  # names of the reference checkpoints' tensors and ours
    "emb.weight": "source.embedding", "out_b": "softmax.bias", "key.weight": "attention.key.weight",
    "val.weight": "attention.value.weight", "q.weight": "attention.query.weight", "init.weight": "bridge.weight",
    "init.bias": "bridge.bias", "comb.weight": "mix.weight", "comb.bias": "mix.bias",
    **{f"enc.{theirs}": f"encoder.forward.0.{ours}" for theirs, ours in CELL.items()},
    **{f"enc.{theirs}_reverse": f"encoder.backward.0.{ours}" for theirs, ours in CELL.items()},
    **{f"dec.{theirs}": f"decoder.0.{ours}" for theirs, ours in CELL.items()},
}  # fmt: skip


def packaged_folder() -> Path:
    """Where the models in the package lie, a folder each."""
    return Path(str(files("sysgym") / "data" / TOPIC))


@lru_cache(maxsize=1)
def public_models() -> dict[str, dict[str, Any]]:
    """The public models as the index describes them."""
    found: dict[str, dict[str, Any]] = json.loads((packaged_folder() / "models.json").read_text())
    return found


@lru_cache(maxsize=1)
def model_names() -> tuple[str, ...]:
    """Names that `load_model` knows: packaged models, then public ones, whether they are on this machine or not."""
    packaged = sorted(path.name for path in packaged_folder().iterdir() if is_model_folder(path))
    return (*packaged, *public_models())


def is_here(name: str) -> bool:
    """Whether a model can be loaded on this machine."""
    if name in public_models():
        return all(find(file) is not None for file in public_files(name))
    return name in model_names() or is_model_folder(Path(name))


def public_files(name: str) -> tuple[DataFile, DataFile]:
    """Checkpoint and vocabulary of a public model."""
    told = public_models()[name]
    weights, vocabulary = (
        DataFile(TOPIC, told[key]["file"], told[key]["sha256"], False, told[key].get("url", ""))
        for key in ("weights", "vocabulary")
    )
    return weights, vocabulary


def load_model(name: str) -> TextModel:
    """A model by its name, or of a folder with `model.json`; each is loaded once. UsageError says what is wrong."""
    if name in model_names():
        return _named(name)
    if name and len(name) < 1024 and Path(name).is_dir():
        return read_model(Path(name))
    error = str(unknown("model", name, model_names())).split(" Known:")[0]
    raise UsageError(f"{error} Give {', '.join(model_names())}, or a folder that holds a model.json.")


@lru_cache(maxsize=8)
def _named(name: str) -> TextModel:
    return _checkpoint(name) if name in public_models() else read_model(packaged_folder() / name, name)


def _checkpoint(name: str) -> TextModel:
    """A reference checkpoint: an .npz of PyTorch's tensors, and a SentencePiece model."""
    told, (weights, vocabulary) = public_models()[name], public_files(name)
    pieces = SentencePieceVocabulary(vocabulary.path, read(vocabulary))
    config = config_of(told["network"], told["options"])
    content = read(weights)
    with reading(weights.path), np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        tensors: dict[str, Array] = {OF_CHECKPOINT.get(key, key): arrays[key] for key in arrays.files}
    made = {"special": Special(**told["special"]), "max_length": told["max_length"], "licence": told["licence"]}
    return built(name, config, fitted_tensors(weights.path, tensors, config), (pieces, pieces), **made)
