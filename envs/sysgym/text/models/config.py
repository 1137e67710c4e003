"""Sizes and options of the networks, and the tensors that follow from them.

`RecurrentConfig` spans the ablations of Britz, Goldie, Luong and Le, "Massive Exploration of Neural Machine Translation
Architectures" (EMNLP 2017); its defaults are their baseline. Tensor names and shapes follow from a configuration, and
the number of parameters from the tensors.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from sysgym.core.errors import UsageError, unknown

Shapes = dict[str, tuple[int, ...]]
GATES = {"gru": 3, "lstm": 4, "vanilla": 1}
LARGEST = 2**20  # of any size


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """An encoder-decoder of recurrent cells."""

    source_vocabulary: int
    target_vocabulary: int
    embedding: int = 512
    units: int = 512  # of every cell
    cell: Literal["gru", "lstm", "vanilla"] = "gru"
    decoder_cell: Literal["same", "gru", "lstm", "vanilla"] = "same"
    recurrent_bias: bool = False  # a second bias on the recurrent products, as PyTorch's cells have
    encoder: Literal["bidirectional", "unidirectional", "reversed"] = "bidirectional"
    encoder_depth: int = 2  # layers; of a bidirectional encoder those of both directions together
    encoder_residual: Literal["none", "add", "dense"] = "none"
    decoder_depth: int = 2
    decoder_residual: Literal["none", "add", "dense"] = "none"
    attention: Literal["multiplicative", "additive", "none"] = "multiplicative"
    attention_units: int = 512
    attention_bias: bool = True  # on the maps of keys and queries
    attention_scale: bool = False  # divide products by the root of attention_units
    attention_values: bool = False  # average a map of the encoder's outputs (to `units`), not the outputs
    feed: Literal["context", "final", "none"] = "context"  # beside the embedding: the context, or the encoder's end
    bridge: Literal["zero", "linear", "tanh"] = "zero"  # the decoder's first state, of the encoder's last one
    self_attention: bool = False  # the decoder attends to its own outputs so far, the newest among them
    tied: bool = False  # one embedding for source, target and softmax

    @property
    def directions(self) -> int:
        """2 of a bidirectional encoder, else 1."""
        return 2 if self.encoder == "bidirectional" else 1

    @property
    def layers(self) -> int:
        """Encoder layers of each direction."""
        return self.encoder_depth // self.directions

    @property
    def memory(self) -> int:
        """Width of the encoder's outputs."""
        return self.directions * self.units

    @property
    def context(self) -> int:
        """Width of what attention averages; 0 without attention."""
        if self.attention == "none":
            return 0
        return self.units if self.attention_values else self.memory

    @property
    def fed(self) -> int:
        """Width of what is fed beside the embedding."""
        return {"context": self.context, "final": self.memory, "none": 0}[self.feed]

    @property
    def decoder(self) -> str:
        """Kind of the decoder's cells."""
        return self.cell if self.decoder_cell == "same" else self.decoder_cell

    @property
    def cell_state(self) -> int:
        """Width of the state of one decoder cell."""
        return self.units * (2 if self.decoder == "lstm" else 1)

    def check(self) -> None:
        """UsageError for options that do not go together."""
        if self.encoder_depth % self.directions:
            raise UsageError(f"a bidirectional encoder has an even depth, got {self.encoder_depth}.")
        if self.attention == "none" and self.feed == "context":
            raise UsageError("without attention there is no context to feed; set feed to final or none.")
        if self.tied and self.source_vocabulary != self.target_vocabulary:
            raise UsageError("a tied embedding needs one vocabulary for source and target.")
        if self.tied and self.embedding != self.units:
            raise UsageError("a tied softmax needs as many units as the embedding has.")

    def shapes(self) -> Shapes:
        """Name and shape of every tensor; weights are (outputs, inputs)."""
        found: Shapes = {"source.embedding": (self.source_vocabulary, self.embedding)}
        for direction in {"bidirectional": ("forward", "backward"), "reversed": ("backward",)}.get(
            self.encoder, ("forward",)
        ):
            found |= self._stack(f"encoder.{direction}", self.cell, self.embedding, self.layers, self.encoder_residual)
        if not self.tied:
            found["target.embedding"] = (self.target_vocabulary, self.embedding)
        wide = self.embedding + self.fed
        found |= self._stack("decoder", self.decoder, wide, self.decoder_depth, self.decoder_residual)
        found |= self._attention()
        if self.bridge != "zero":
            found |= _affine("bridge", self.decoder_depth * self.cell_state, self.memory)
        if not self.tied:
            found["softmax.weight"] = (self.target_vocabulary, self.units)
        found["softmax.bias"] = (self.target_vocabulary,)
        return found

    def _stack(self, name: str, cell: str, wide: int, depth: int, residual: str) -> Shapes:
        """Layers of cells; where residuals are and the input has another width, a map of it comes first."""
        found: Shapes = {}
        if residual != "none" and wide != self.units:
            found |= _affine(f"{name}.transform", self.units, wide)
            wide = self.units
        rows = GATES[cell] * self.units
        for layer in range(depth):
            found[f"{name}.{layer}.input"] = (rows, wide if layer == 0 else self.units)
            found[f"{name}.{layer}.recurrent"] = (rows, self.units)
            found[f"{name}.{layer}.bias"] = (rows,)
            if self.recurrent_bias:
                found[f"{name}.{layer}.recurrent_bias"] = (rows,)
        return found

    def _attention(self) -> Shapes:
        found: Shapes = {}
        mixed = self.units
        if self.attention != "none":
            a, bias = self.attention_units, self.attention_bias
            found |= _affine("attention.key", a, self.memory, bias) | _affine("attention.query", a, self.units, bias)
            if self.attention == "additive":
                found["attention.score"] = (a,)
            if self.attention_values:
                found |= _affine("attention.value", self.units, self.memory, False)
            mixed += self.context
        if self.self_attention:
            found |= _affine("self_attention.query", self.units, self.units, False)
            mixed += self.units
        return found | (_affine("mix", self.units, mixed) if mixed > self.units else {})


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """A Transformer (Vaswani et al. 2017) with normalisation before each block, as OpenNMT-tf trains it.

    Sources have one row more than the vocabulary, for unknown words; so have targets.
    """

    source_vocabulary: int  # rows of the source embedding
    target_vocabulary: int
    encoder_layers: int = 6
    decoder_layers: int = 6
    width: int = 512
    heads: int = 8
    inner: int = 2048

    def check(self) -> None:
        """UsageError for sizes that do not go together."""
        if self.width % self.heads or self.width % 2:
            raise UsageError(f"a width of {self.width} is not even, or no multiple of {self.heads} heads.")

    def shapes(self) -> Shapes:
        """Name and shape of every tensor; weights are (outputs, inputs)."""
        wide = self.width
        found: Shapes = {"encoder/embeddings/weight": (self.source_vocabulary, wide)}
        found["decoder/embeddings/weight"] = (self.target_vocabulary, wide)
        for side, layers in (("encoder", self.encoder_layers), ("decoder", self.decoder_layers)):
            for layer in range(layers):
                block = f"{side}/layer_{layer}"
                found |= _block(f"{block}/self_attention", wide, (3 * wide, wide), (wide, wide))
                if side == "decoder":
                    found |= _block(f"{block}/attention", wide, (wide, wide), (2 * wide, wide), (wide, wide))
                found |= _block(f"{block}/ffn", wide, (self.inner, wide), (wide, self.inner))
            found |= _norm(f"{side}/layer_norm", wide)
        return found | _affine("decoder/projection", self.target_vocabulary, wide, sign="/")


Config = RecurrentConfig | TransformerConfig
KINDS: dict[str, type[Config]] = {"recurrent": RecurrentConfig, "transformer": TransformerConfig}


def _affine(name: str, outputs: int, inputs: int, bias: bool = True, sign: str = ".") -> Shapes:
    found: Shapes = {f"{name}{sign}weight": (outputs, inputs)}
    return found | ({f"{name}{sign}bias": (outputs,)} if bias else {})


def _norm(name: str, wide: int) -> Shapes:
    return {f"{name}/gamma": (wide,), f"{name}/beta": (wide,)}


def _block(name: str, wide: int, *maps: tuple[int, int]) -> Shapes:
    found = _norm(f"{name}/layer_norm", wide)
    for place, (outputs, inputs) in enumerate(maps):
        found |= _affine(f"{name}/linear_{place}", outputs, inputs, sign="/")
    return found


def parameter_count(config: Config) -> int:
    """Number of trained numbers.

    >>> parameter_count(RecurrentConfig(source_vocabulary=37007, target_vocabulary=37007))
    66324623
    """
    return sum(math.prod(shape) for shape in config.shapes().values())


def config_of(kind: str, options: dict[str, Any]) -> Config:
    """A configuration from the options of a file; UsageError names what is wrong."""
    if kind not in KINDS:
        raise unknown("kind of network", kind, KINDS)
    hints = get_type_hints(KINDS[kind])
    for name, value in options.items():
        if name not in hints:
            raise unknown(f"option of a {kind} network", name, hints)
        choices = get_args(hints[name])
        if choices and value not in choices:
            raise UsageError(f"{name} is {value!r}; it may be {', '.join(map(str, choices))}.")
        if not choices and type(value) is not hints[name]:
            raise UsageError(f"{name} is {value!r}; it takes a {hints[name].__name__}.")
        if hints[name] is int and not 1 <= value <= LARGEST:
            raise UsageError(f"{name} is {value}; it may be 1 to {LARGEST}.")
    absent = [
        item.name for item in fields(KINDS[kind]) if item.name.endswith("_vocabulary") and item.name not in options
    ]
    if absent:
        raise UsageError(f"{absent[0]} is missing.")
    config = KINDS[kind](**options)
    config.check()
    return config


def options_of(config: Config) -> tuple[str, dict[str, Any]]:
    """The kind of a configuration, and all its options as a file holds them."""
    kind = next(name for name, each in KINDS.items() if isinstance(config, each))
    return kind, asdict(config)
