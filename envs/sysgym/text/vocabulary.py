"""Vocabularies: text to token ids and back. SentencePiece models, and lists of one token a line, read as characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from sysgym.core.data import as_text
from sysgym.core.errors import UsageError, shortened
from sysgym.core.problem import Array

MAX_PIECES = 64  # of a sentence


class Vocabulary(Protocol):
    """Token ids of text, and text of token ids; the tokens that begin and end a sentence are no part of it."""

    size: int
    unknown: int  # the id of what is not in the vocabulary
    content: bytes  # of its file

    def encode(self, text: str, most: int | None = MAX_PIECES) -> Array:
        """Ids (n,) int64 of a sentence; UsageError if there are more than `most`."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; what is unknown is left out."""

    def piece(self, token: int) -> str:
        """One token as it may be shown."""


def checked(ids: Sequence[int], text: str, most: int | None) -> Array:
    """The ids of a sentence that is not too long."""
    if most is not None and len(ids) > most:
        raise UsageError(
            f"a sentence of {len(ids)} pieces is longer than the {most} that are decoded: "
            f"{shortened(text, 60)!r}; split it."
        )
    return np.array(ids, dtype=np.int64)


class SentencePieceVocabulary:
    """A SentencePiece model (Kudo and Richardson 2018) by the bytes of its file."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name, self.content = name, content
        self.size: int = self._model.get_piece_size()
        self.unknown: int = self._model.unk_id()

    @cached_property
    def _model(self) -> Any:
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=self.content)
        except Exception as error:  # its own kinds, by version
            raise UsageError(f"{self.name} is no SentencePiece model, or a damaged one.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return SentencePieceVocabulary, (self.name, self.content)

    def encode(self, text: str, most: int | None = MAX_PIECES) -> Array:
        """Ids (n,) int64 of a sentence; UsageError if there are more than `most`."""
        return checked(self._model.encode(text), text, most)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; what is unknown is left out, and so are tokens without a text (begin, end, padding)."""
        model = self._model
        known = [int(token) for token in ids]
        found: str = model.decode([token for token in known if token != self.unknown and not model.is_control(token)])
        return found

    def piece(self, token: int) -> str:
        """One token as it may be shown."""
        found: str = self._model.id_to_piece(int(token))
        return found


class CharacterVocabulary:
    """One token a line, its id the number of the line from 0; a sentence is its characters.

    Ids 0 to 2 are padding, begin and end; what is unknown has the id behind the last line.

    >>> letters = CharacterVocabulary("letters", "<blank>\\n<s>\\n</s>\\na\\nb\\n".encode())
    >>> letters.encode("abc").tolist(), letters.decode([4, 3, 5])
    ([3, 4, 5], 'ba')
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name, self.content = name, content
        self.tokens = as_text(name, content).removesuffix("\n").split("\n")
        if len(self.tokens) < 4 or len(set(self.tokens)) < len(self.tokens):
            raise UsageError(f"{name} is no vocabulary: it has fewer than four tokens, or one of them twice.")
        self.ids = {token: place for place, token in enumerate(self.tokens)}
        self.unknown = len(self.tokens)
        self.size = len(self.tokens) + 1

    def encode(self, text: str, most: int | None = MAX_PIECES) -> Array:
        """Ids (n,) int64 of a sentence; UsageError if there are more than `most`."""
        return checked([self.ids.get(character, self.unknown) for character in text], text, most)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; what is unknown is left out, and so are padding, begin and end."""
        return "".join(self.tokens[token] for token in ids if 2 < token < self.unknown)

    def piece(self, token: int) -> str:
        """One token as it may be shown."""
        return self.tokens[token] if token < self.unknown else "<unk>"


VOCABULARIES: dict[str, type[SentencePieceVocabulary] | type[CharacterVocabulary]] = {
    "sentencepiece": SentencePieceVocabulary,
    "characters": CharacterVocabulary,
}
