"""What a model is trained with: numbers of the training, and the options of the network. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from sysgym.core.errors import unknown_option
from sysgym.core.options import Range, check_fields, option_table
from sysgym.text.models.config import RecurrentConfig, config_of

SIZES = ("source_vocabulary", "target_vocabulary")  # follow from the vocabulary


@dataclass(kw_only=True)
class Setting:
    """Numbers of a training."""

    vocabulary: Literal["sentencepiece", "characters"] = "sentencepiece"  # one for both sides
    pieces: Annotated[int, Range(8, 65_536)] = 4000  # of a SentencePiece vocabulary (BPE)
    epochs: Annotated[int, Range(1, 100_000)] = 8
    batch: Annotated[int, Range(1, 2**20)] = 2048  # target tokens of a step, padding counted
    learning_rate: Annotated[float, Range(1e-7, 1.0)] = 3e-3
    warmup: Annotated[int, Range(1, 1_000_000)] = 100  # steps in which the rate grows; then it falls to 0 as a line
    dropout: Annotated[float, Range(0.0, 0.9)] = 0.3
    label_smoothing: Annotated[float, Range(0.0, 0.9)] = 0.1
    weight_decay: Annotated[float, Range(0.0, 1.0)] = 0.01
    clip: Annotated[float, Range(1e-3, 1e6)] = 1.0  # most of the gradient's norm
    segment: Annotated[int, Range(0, 1000)] = 0  # tokens after which what is written is encoded again; 0 for never
    max_length: Annotated[int, Range(2, 1000)] = 50  # tokens of what the model writes, the end among them
    sample: Annotated[int, Range(1, 100_000)] = 200  # validation pairs that are decoded for BLEU and chrF
    risk: Annotated[int, Range(0, 64)] = 0  # hypotheses of each source whose expected risk is lowered; 0: cross entropy
    precision: Literal["auto", "bfloat16", "float32"] = "auto"  # auto: bfloat16 where the processor multiplies it

    def __post_init__(self) -> None:
        check_fields(self, "{} of the training")


@dataclass(frozen=True)
class Wanted:
    """A training and a network, without the sizes of the vocabulary."""

    setting: Setting
    network: Mapping[str, Any]

    def config(self, size: int) -> RecurrentConfig:
        """The network's configuration with a vocabulary for both sides."""
        found = config_of("recurrent", {**self.network, **dict.fromkeys(SIZES, size)})
        assert isinstance(found, RecurrentConfig)
        return found


def wanted(training: Mapping[str, Any], network: Mapping[str, Any], changes: Sequence[str] = ()) -> Wanted:
    """What a recipe's tables say, changed by `key=value` words; UsageError for what cannot be."""
    tables = {"training": option_table(Setting), "network": option_table(RecurrentConfig)}
    for size in SIZES:
        tables["network"] = {key: value for key, value in tables["network"].items() if key != size}
    found = {"training": dict(training), "network": dict(network)}
    for part, values in found.items():
        for name in values:
            if name not in tables[part]:
                raise unknown_option(f"the {part}", name, tables[part])
    for change in changes:
        key, equals, text = change.partition("=")
        part = next((part for part, table in tables.items() if key in table), "")
        if not part or not equals:
            raise unknown_option("--set (give key=value)", key, {**tables["training"], **tables["network"]})
        found[part][key] = tables[part][key].parse(text, f"the {part}")
    made = Wanted(Setting(**found["training"]), found["network"])
    made.config(made.setting.pieces)
    return made
