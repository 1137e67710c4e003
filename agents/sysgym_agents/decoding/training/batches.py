"""Examples of a training, and batches of like lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sysgym.core.problem import Array
from sysgym.text.model import TextModel
from sysgym.text.vocabulary import MAX_PIECES
from sysgym_agents.decoding.training.texts import Pairs

SOURCES = 3  # times as many source tokens as target tokens a batch may have
POOL = 64  # batches among whose examples those of like lengths stand together
ROWS, TOKENS = 8, 256  # multiples of examples and of targets: bfloat16 kernels are made anew for every other shape
NOTHING = -100  # as a target: none


class Example(NamedTuple):
    """What the encoder reads, what the decoder reads, and what it is to write."""

    source: Array
    read: Array
    write: Array


class Batch(NamedTuple):
    """Examples with padding behind."""

    sources: Tensor  # (B, S)
    lengths: Tensor  # (B,)
    read: Tensor  # (B, T)
    real: Tensor  # (B, T) bool
    write: Tensor  # (N,), the targets that are real, row by row

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(part.to(device) for part in self))


def examples_of(model: TextModel, pairs: Pairs) -> tuple[list[Example], int]:
    """Examples of pairs, and how many pairs are left out because a side is too long. Of a model with segments there is
    one for each segment of the target, whose source holds what comes before."""
    found, left_out, special = list[Example](), 0, model.special
    most = min(MAX_PIECES, model.max_length - 1)
    for text, answer in zip(pairs.sources, pairs.targets, strict=True):
        source, target = model.source.encode(text, None), model.target.encode(answer, None)
        if not 0 < len(source) <= MAX_PIECES or not 0 < len(target) <= most:
            left_out += 1
            continue
        whole = np.concatenate([[special.begin], target, [special.end]])
        every = special.segment or len(whole)
        for first in range(0, len(whole) - 1, every):
            last = min(first + every, len(whole) - 1)
            found.append(Example(model.read(source, target[:first]), whole[first:last], whole[first + 1 : last + 1]))
    return found, left_out


def batches_of(examples: Sequence[Example], most: int, rng: np.random.Generator | None = None) -> list[Array]:
    """Rows of the examples of each batch: as many as have no more than `most` target tokens, and SOURCES times as many
    source tokens, padding counted. With a generator both order and company are drawn, without one examples stand in
    order of their lengths."""
    sizes = np.array([(len(each.write), len(each.source)) for each in examples])
    order = np.arange(len(examples)) if rng is None else rng.permutation(len(examples))
    mean = max(1.0, float(sizes[:, 0].mean()))
    pool = len(examples) if rng is None else max(1, int(POOL * most / mean))
    found = list[Array]()
    for first in range(0, len(order), pool):
        rows = order[first : first + pool]
        rows = rows[np.lexsort((sizes[rows, 1], sizes[rows, 0]))]
        begin = end = 0
        while begin < len(rows):
            longest = 0
            while end < len(rows):
                longest = max(longest, -(-int(sizes[rows[end], 1]) // SOURCES), int(sizes[rows[end], 0]))
                if (end + 1 - begin) * longest > most:
                    break
                end += 1
            if end < len(rows) and end - begin > ROWS:
                end -= (end - begin) % ROWS
            end = max(end, begin + 1)
            found.append(rows[begin:end])
            begin = end
    return found if rng is None else [found[i] for i in rng.permutation(len(found))]


def batch_of(examples: Sequence[Example], rows: Array) -> Batch:
    """The examples of some rows as tensors."""
    chosen = [examples[int(row)] for row in rows]
    sources, lengths = _padded([each.source for each in chosen])
    read, count = _padded([each.read for each in chosen])
    real = torch.arange(read.shape[1]) < count[:, None]
    return Batch(sources, lengths, read, real, torch.from_numpy(np.concatenate([each.write for each in chosen])))


def batches(examples: Sequence[Example], most: int) -> Iterator[Batch]:
    """All examples in order of their lengths."""
    return (batch_of(examples, rows) for rows in batches_of(examples, most))


def _padded(parts: Sequence[Array]) -> tuple[Tensor, Tensor]:
    lengths = np.array([len(part) for part in parts])
    found = np.zeros((len(parts), int(lengths.max())), dtype=np.int64)
    found[np.arange(found.shape[1]) < lengths[:, None]] = np.concatenate(parts)
    return torch.from_numpy(found), torch.from_numpy(lengths)
