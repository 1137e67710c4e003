"""A model that writes text: a network, its vocabularies, and how a sentence becomes what the network reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.models.config import Config, RecurrentConfig
from sysgym.text.models.interface import Memory, Network, State
from sysgym.text.models.recurrent import Recurrent
from sysgym.text.models.transformer import Transformer
from sysgym.text.vocabulary import Vocabulary

NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Special:
    """Token ids with a meaning of their own."""

    begin: int = 1
    end: int = 2
    padding: int = 0
    source_end: bool = True  # the network reads `end` behind a source
    separator: int = -1  # between a message and what is answered so far
    segment: int = 0  # tokens after which the answer so far is encoded again; 0 for never


@dataclass(frozen=True, kw_only=True)
class TextModel:
    """A network with its vocabularies. With `special.segment` it is the glimpse model of Shao et al. (EMNLP 2017):
    its encoder reads the message and the answer so far, its decoder continues from the answer's last token."""

    name: str
    hash: str  # sha256 of all that it consists of
    config: Config
    tensors: dict[str, Array] = field(repr=False)  # float32
    source: Vocabulary
    target: Vocabulary
    special: Special = Special()
    max_length: int = 50  # tokens of a hypothesis, its end among them
    licence: str = ""

    def __getstate__(self) -> dict[str, object]:
        """Without the network, which is made anew of its tensors."""
        return {name: value for name, value in self.__dict__.items() if name != "network"}

    def __deepcopy__(self, memo: dict[int, object]) -> TextModel:
        """The same: nothing in it changes."""
        return self

    @cached_property
    def network(self) -> Network:
        """The network, made of its tensors."""
        made = Recurrent(self.config, self.tensors) if isinstance(self.config, RecurrentConfig) else None
        return made or Transformer(self.config, self.tensors)  # type: ignore[arg-type]

    @property
    def vocabulary(self) -> int:
        """Number of target tokens."""
        return self.network.vocabulary

    @cached_property
    def unwritten(self) -> Array:
        """Tokens (n,) that no answer holds: padding, begin, separator, and what is unknown."""
        special = self.special
        known = {special.begin, special.padding, special.separator, self.target.unknown} - {special.end}
        return np.array(sorted(token for token in known if 0 <= token < self.vocabulary), dtype=np.int64)

    def ids(self, text: str) -> Array:
        """A sentence as token ids (n,), without an end; UsageError if it is too long, or empty."""
        found = self.source.encode(text)
        if not len(found):
            raise UsageError("an empty sentence has nothing to decode.")
        return found

    def text(self, tokens: Iterable[int]) -> str:
        """The text of target tokens, special ones left out."""
        told = self.special
        return self.target.decode(t for t in tokens if t not in (told.begin, told.end, told.padding, told.separator))

    def read(self, source: Array, prefix: Array = NONE) -> Array:
        """What the encoder reads of a sentence's ids and, with segments, of the answer so far."""
        parts = [source]
        if self.special.segment:
            parts += [np.array([self.special.separator]), prefix]
        if self.special.source_end:
            parts.append(np.array([self.special.end]))
        return np.concatenate(parts)

    def begin(self, sources: Sequence[Array], prefixes: Sequence[Array] | None = None) -> tuple[Memory, State, Array]:
        """Memory and hypotheses of sentences, one each, and the tokens (N,) of the first step. Prefixes, what is
        written so far, are for models with segments."""
        before = [NONE] * len(sources) if prefixes is None else prefixes
        if prefixes is not None and not self.special.segment and any(map(len, prefixes)):
            raise UsageError(f"{self.name} has no segments: it continues from a state, not from a prefix.")
        memory = self.network.encode(
            [self.read(source, prefix) for source, prefix in zip(sources, before, strict=True)]
        )
        first = [prefix[-1] if len(prefix) else self.special.begin for prefix in before]
        return memory, self.network.start(memory), np.array(first, dtype=np.int64)
