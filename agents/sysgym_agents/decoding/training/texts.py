"""Pairs of texts to train on: read from files and checked, and the vocabulary that is made of them. No torch."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.text.vocabulary import CharacterVocabulary, SentencePieceVocabulary, Vocabulary

SEPARATOR = "<sep>"
SPECIAL = ("<pad>", "<s>", "</s>")
HELD, SHARE = 500, 20  # without validation files, of 20 different pairs one is held out, but no more than 500


class Pairs(NamedTuple):
    """Texts and what a model is to make of them."""

    sources: list[str]
    targets: list[str]

    def take(self, rows: Sequence[int]) -> Pairs:
        """Some of them."""
        return Pairs([self.sources[i] for i in rows], [self.targets[i] for i in rows])

    def __iter__(self) -> Iterator[list[str]]:
        return iter((self.sources, self.targets))


def lines_of(name: str, text: str) -> list[str]:
    """The lines of a file, none of them empty."""
    found = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    for number, line in enumerate(found, start=1):
        if not line.strip():
            raise UsageError(f"{name}, line {number} is empty; every pair needs a text on both sides.")
    return found


def two_files(names: tuple[str, str], contents: tuple[str, str]) -> Pairs:
    """Pairs of two files, line by line."""
    sources, targets = (lines_of(*each) for each in zip(names, contents, strict=True))
    if len(sources) != len(targets):
        raise UsageError(
            f"{names[0]} has {len(sources)} lines and {names[1]} has {len(targets)}; a line of one belongs to the line "
            "of the same number of the other."
        )
    return Pairs(sources, targets)


def tab_separated(name: str, content: str, columns: int = 2) -> Pairs:
    """Pairs of one file: the last two of so many columns."""
    rows = [line.split("\t") for line in lines_of(name, content)]
    for number, row in enumerate(rows, start=1):
        if len(row) != columns:
            raise UsageError(f"{name}, line {number} has {len(row)} columns, expected {columns} with tabs between.")
        if not all(cell.strip() for cell in row[-2:]):
            raise UsageError(f"{name}, line {number} has an empty column; every pair needs a text on both sides.")
    return Pairs([row[-2] for row in rows], [row[-1] for row in rows])


def held_out(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Pairs to train on and pairs for validation, drawn the same for every seed; no pair is in both."""
    different = list(dict.fromkeys(zip(pairs.sources, pairs.targets, strict=True)))
    if len(different) < 2:
        raise UsageError("there are no two different pairs, and some are held out for validation; give more pairs.")
    count = max(1, min(HELD, len(different) // SHARE))
    rows = np.random.default_rng(0).choice(len(different), count, replace=False)
    chosen = {different[row] for row in rows}
    kept = [i for i, pair in enumerate(zip(pairs.sources, pairs.targets, strict=True)) if pair not in chosen]
    held = [different[row] for row in sorted(rows)]
    return pairs.take(kept), Pairs([pair[0] for pair in held], [pair[1] for pair in held])


def make_vocabulary(kind: str, pairs: Pairs, pieces: int, separator: bool) -> Vocabulary:
    """One vocabulary of both sides, the same for the same texts."""
    if kind == "characters":
        letters = sorted({letter for side in pairs for text in side for letter in text if letter != "\n"})
        tokens = [*SPECIAL, *([SEPARATOR] if separator else []), *letters]
        return CharacterVocabulary("the vocabulary", ("\n".join(tokens) + "\n").encode())
    return SentencePieceVocabulary(
        "the vocabulary", _sentence_pieces([*pairs.sources, *pairs.targets], pieces, separator)
    )


def separator_of(kind: str) -> int:
    """The id of the separator."""
    return 3 if kind == "characters" else 4


def _sentence_pieces(texts: list[str], pieces: int, separator: bool) -> bytes:
    """A SentencePiece model (BPE) of so many pieces; padding 0, begin 1, end 2, unknown 3, separator 4."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=pieces, num_threads=1,
            pad_id=0, bos_id=1, eos_id=2, unk_id=3, character_coverage=1.0, minloglevel=3,
            control_symbols=[SEPARATOR] if separator else [],
        )  # fmt: skip
    except RuntimeError as error:
        most, least = re.search(r"value <= (\d+)", str(error)), re.search(r"required_chars\D*\d+ vs (\d+)", str(error))
        if most:
            raise UsageError(
                f"there is too little text for a vocabulary of {pieces} pieces; lower pieces to {most[1]} or less."
            ) from error
        if least or "required_chars" in str(error):
            letters = len({letter for text in texts for letter in text})
            raise UsageError(
                f"{pieces} pieces are fewer than the text's {letters} characters need; raise pieces."
            ) from error
        raise UsageError(f"no vocabulary can be made of these texts: {str(error).strip().splitlines()[-1]}.") from error
    return model.getvalue()
