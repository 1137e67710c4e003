"""The networks behind configurations in the words of the published tables, and how they are searched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sysgym.core.errors import UsageError, shortened
from sysgym.core.problem import Array
from sysgym.nmt_architecture.instance import Sizes, Space
from sysgym.text.models.config import RecurrentConfig, parameter_count

BEAM = re.compile(r"B([1-9]\d{0,3})(?:-LP-(\d+(?:\.\d+)?))?", re.ASCII)
WORDS = {  # of each factor
    name: re.compile(words, re.ASCII)
    for name, words in {
        "embedding": r"[1-9]\d{0,4}",
        "cell": "GRU|LSTM|Vanilla-Dec",
        "encoder": r"(Bidi-[1-9]\d?|Uni-[1-9]\d?R?)(-ResD?)?",
        "decoder": r"[1-9]\d?(-ResD?)?",
        "attention": r"(Add|Mul)-[1-9]\d{0,4}|None-(State|Input)",
    }.items()
}
RESIDUAL = {"": "none", "Res": "add", "ResD": "dense"}


PUBLISHED = Sizes(37_007, 512)  # the vocabulary is fitted to the published numbers of parameters


def network(values: Mapping[str, str], sizes: Sizes = PUBLISHED) -> RecurrentConfig:
    """The network of a configuration's values; beam search needs none. UsageError for words that are none.

    >>> network({"embedding": "512", "cell": "LSTM", "encoder": "Bidi-4", "decoder": "8-ResD", "attention": "Add-128"})
    ... # doctest: +ELLIPSIS
    RecurrentConfig(source_vocabulary=37007, ..., cell='lstm', ..., decoder_residual='dense', attention='additive', ...)
    """
    for name, words in WORDS.items():
        if not words.fullmatch(values.get(name, "")):
            shown = shortened(repr(values.get(name)), 40)
            raise UsageError(f"no network has {name} {shown}; the words are those of the published tables.")
    found = RecurrentConfig(
        source_vocabulary=sizes.vocabulary, target_vocabulary=sizes.vocabulary, units=sizes.units,
        embedding=int(values["embedding"]),
        **_cells(values["cell"]), **_encoder(values["encoder"]), **_decoder(values["decoder"]),
        **_attention(values["attention"]),
    )  # fmt: skip
    found.check()
    return found


def searched(word: str) -> tuple[int, float]:
    """The width of a beam and its length penalty.

    >>> searched("B5"), searched("B10-LP-1.0")
    ((5, 0.0), (10, 1.0))
    """
    found = BEAM.fullmatch(word)
    if found is None:
        raise UsageError(f"{shortened(word, 40)!r} is no beam; such are B5 and B10-LP-1.0.")
    return int(found[1]), float(found[2] or 0)


def _cells(word: str) -> dict[str, Any]:
    return {"decoder_cell": "vanilla"} if word == "Vanilla-Dec" else {"cell": word.lower()}


def _encoder(word: str) -> dict[str, Any]:
    """Such as Bidi-8-ResD or Uni-2R, whose source is reversed."""
    kind, depth, *residual = word.split("-")
    direction = "bidirectional" if kind == "Bidi" else "reversed" if depth.endswith("R") else "unidirectional"
    found = {"encoder": direction, "encoder_depth": int(depth.removesuffix("R"))}
    return found | {"encoder_residual": RESIDUAL["".join(residual)]}


def _decoder(word: str) -> dict[str, Any]:
    depth, *residual = word.split("-")
    return {"decoder_depth": int(depth), "decoder_residual": RESIDUAL["".join(residual)]}


def _attention(word: str) -> dict[str, Any]:
    """Such as Mul-512; without attention the encoder's end is the decoder's first state, or fed at every step."""
    kind, size = word.split("-")
    if kind == "None":
        told = {"feed": "none", "bridge": "linear"} if size == "State" else {"feed": "final"}
        return {"attention": "none", **told}
    return {"attention": "additive" if kind == "Add" else "multiplicative", "attention_units": int(size)}


@lru_cache(maxsize=4096)
def _count(values: tuple[tuple[str, str], ...], sizes: Sizes) -> int:
    return parameter_count(network(dict(values), sizes))


def parameters_of(space: Space, design: Array, sizes: Sizes | None) -> int:
    """Trained numbers of the network of a design; 0 where it is not known what networks they are."""
    return _count(tuple(space.named(design).items()), sizes) if sizes else 0
