"""Models on disk: a folder with `model.json`, `weights.safetensors` and the files of its vocabularies.

`model.json` holds the kind of network, all its options, the special tokens and the vocabularies' kinds and files.
Weights are stored as float16 or float32 and used as float32. A model's hash is over what decides its output: options,
special tokens, vocabularies, and every tensor as float32, in the order of their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.data import as_text, read_file
from sysgym.core.errors import UsageError, reading, unknown
from sysgym.core.problem import Array
from sysgym.text.model import Special, TextModel
from sysgym.text.models.config import Config, config_of, options_of
from sysgym.text.vocabulary import VOCABULARIES, Vocabulary

DESCRIPTION, WEIGHTS, FORMAT = "model.json", "weights.safetensors", 1
NEEDED = {"format": int, "network": str, "options": dict, "special": dict, "max_length": int,
          "source_vocabulary": dict, "target_vocabulary": dict}  # fmt: skip
MAX_LENGTH = 1000


def is_model_folder(path: Path) -> bool:
    """Whether a folder says that it holds a model."""
    return (path / DESCRIPTION).is_file()


def read_model(folder: Path, name: str = "") -> TextModel:
    """The model of a folder; UsageError says in a sentence what is wrong with its files."""
    if not is_model_folder(folder):
        raise UsageError(f"{folder} holds no {DESCRIPTION}, so it is no folder of a model.")
    description = _description(folder / DESCRIPTION)
    with reading(folder / DESCRIPTION):
        config = config_of(description["network"], description["options"])
        special = _special(description["special"])
    content = read_file(folder / WEIGHTS)
    tensors = fitted_tensors(folder / WEIGHTS, _tensors(folder / WEIGHTS, content), config)
    source = _vocabulary(folder, description["source_vocabulary"])
    same = description["target_vocabulary"] == description["source_vocabulary"]
    target = source if same else _vocabulary(folder, description["target_vocabulary"])
    licence = str(description.get("licence", ""))
    made = {"special": special, "max_length": description["max_length"], "licence": licence}
    return built(name or folder.name, config, tensors, (source, target), **made)


def built(
    name: str, config: Config, tensors: dict[str, Array], vocabularies: tuple[Vocabulary, Vocabulary], **more: Any
) -> TextModel:
    """A model of its parts, whose sizes must agree."""
    source, target = vocabularies
    for side, there, has in (("source", source.size, config.source_vocabulary),
                             ("target", target.size, config.target_vocabulary)):  # fmt: skip
        if there != has:
            raise UsageError(f"{name}: its {side} vocabulary has {there} tokens, its network {has}.")
    special = more.get("special", Special())
    highest = max(special.begin, special.end, special.padding, special.separator)
    if highest >= min(source.size, target.size):
        raise UsageError(f"{name}: the special token {highest} is in no vocabulary.")
    more["hash"] = model_hash(config, tensors, vocabularies, special, int(more.get("max_length", 50)))
    return TextModel(name=name, config=config, tensors=tensors, source=source, target=target, **more)


def model_hash(
    config: Config, tensors: Mapping[str, Array], vocabularies: tuple[Vocabulary, Vocabulary], special: Special,
    max_length: int,
) -> str:  # fmt: skip
    """sha256 over all that decides what a model writes, in hexadecimal."""
    kind, options = options_of(config)
    told = {"network": kind, "options": options, "special": asdict(special), "max_length": max_length}
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for vocabulary in vocabularies:
        content: bytes = vocabulary.content
        found.update(f"{type(vocabulary).__name__} {len(content)}\n".encode() + content)
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name], dtype="<f4")
        found.update(f"{name} {values.shape}\n".encode() + values.tobytes())
    return found.hexdigest()


def write_model(model: TextModel, folder: Path, half: bool = True) -> None:
    """Write a model as a folder, its weights in float16 or float32."""
    from safetensors.numpy import save

    kind, options = options_of(model.config)
    sides = {"source": model.source, "target": model.target}
    if model.source.content == model.target.content:
        sides["target"] = model.source
    folder.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"format": FORMAT, "network": kind, "options": options, "special": asdict(model.special),
                            "max_length": model.max_length, "licence": model.licence}  # fmt: skip
    for side, vocabulary in sides.items():
        which = next(name for name, each in VOCABULARIES.items() if isinstance(vocabulary, each))
        first = "source" if vocabulary is model.source else side
        file = f"{first}.{'model' if which == 'sentencepiece' else 'txt'}"
        (folder / file).write_bytes(vocabulary.content)
        told[f"{side}_vocabulary"] = {"kind": which, "file": file}
    stored = {name: np.ascontiguousarray(values, np.float16 if half else np.float32)
              for name, values in sorted(model.tensors.items())}  # fmt: skip
    if any(not np.isfinite(values).all() for values in stored.values()):
        raise UsageError(f"{model.name} has weights that are not finite as {'float16' if half else 'float32'}.")
    (folder / WEIGHTS).write_bytes(save(stored))
    (folder / DESCRIPTION).write_text(json.dumps(told, indent=1) + "\n")


def _description(path: Path) -> dict[str, Any]:
    with reading(path):
        found = json.loads(as_text(path, read_file(path)))
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object.")
    for key, kind in NEEDED.items():
        if type(found.get(key)) is not kind:
            raise UsageError(f"{path}: {key!r} is missing, or no {kind.__name__}.")
    if found["format"] != FORMAT:
        raise UsageError(f"{path} is of format {found['format']}; this version reads format {FORMAT}.")
    if not 1 <= found["max_length"] <= MAX_LENGTH:
        raise UsageError(f"{path}: max_length is {found['max_length']}; it may be 1 to {MAX_LENGTH}.")
    return found


def _special(given: dict[str, Any]) -> Special:
    kinds: dict[str, type] = {item.name: type(item.default) for item in fields(Special)}
    for name, value in given.items():
        if name not in kinds:
            raise unknown("special token", name, kinds)
        low = isinstance(value, int) and value < (-1 if name == "separator" else 0)
        if low or type(value) is not kinds[name]:
            raise UsageError(f"{name} is {value!r}; it takes a {kinds[name].__name__} that is not negative.")
    special = Special(**given)
    if special.segment and special.separator < 0:
        raise UsageError("a model with segments needs a separator.")
    return special


def _vocabulary(folder: Path, told: dict[str, Any]) -> Vocabulary:
    kind, file = told.get("kind"), told.get("file")
    if kind not in VOCABULARIES:
        raise unknown("kind of vocabulary", kind, VOCABULARIES)
    if not isinstance(file, str) or Path(file).name != file or not file:
        raise UsageError(f"{folder / DESCRIPTION}: a vocabulary's file is a name in the same folder, got {file!r}.")
    path = folder / file
    return VOCABULARIES[kind](str(path), read_file(path))


def _tensors(path: Path, content: bytes) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: dict[str, Array] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is damaged or cut short: it is no whole safetensors file.") from error
    return found


def fitted_tensors(path: object, tensors: Mapping[str, Array], config: Config) -> dict[str, Array]:
    """The tensors as float32, if they are those of the configuration; UsageError names the first that is not."""
    shapes = config.shapes()
    for name in (*shapes, *tensors):
        if name not in tensors:
            raise UsageError(f"{path}: the tensor {name!r} is missing.")
        if name not in shapes:
            raise UsageError(f"{path}: the tensor {name!r} is none of this network.")
        found = tensors[name]
        if found.shape != shapes[name]:
            raise UsageError(f"{path}: the tensor {name!r} is {found.shape}, the options say {shapes[name]}.")
        if found.dtype not in (np.float16, np.float32):
            raise UsageError(f"{path}: the tensor {name!r} is {found.dtype}; weights are float16 or float32.")
        if not np.isfinite(found).all():
            raise UsageError(f"{path}: the tensor {name!r} holds a value that is not finite.")
    return {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in shapes}
