"""What answers are worth: how probable each is under its message and under the others of Phi, and the cost of a chunk.

Every figure is a function of texts alone: a text is cut into tokens by the model's vocabulary, always in the same way,
so whoever writes the same text has the same cost. The glimpse model scores it segment by segment, each with the answer
so far encoded anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.episodes.chunk import ChunkScore
from sysgym.text.episodes.ranked import encoded
from sysgym.text.metrics import distinct
from sysgym.text.model import TextModel
from sysgym.text.scoring import mmi, score

LEAST = -10.0  # an answer's S is no less; an empty one has it
SHORT = 40  # characters under which an answer is a short one
FIRST = 10  # N of N-choose-K, K = 1: own message and nine others
KEPT = 2**15
Key = tuple[str, bytes, str]  # hash of the model, the sources of Phi, text
_known: OrderedDict[Key, Array] = OrderedDict()  # of this process; what is scored again is the same


def likelihoods(model: TextModel, asked: Sequence[tuple[list[Array], str]]) -> list[Array]:
    """log P (Q,) float64 of each text under the sources of its sample, the end token counted."""
    keys = [_key(model, *each) for each in asked]
    found = {key: _known[key] for key in keys if key in _known}
    new = {key: each for key, each in zip(keys, asked, strict=True) if key not in found}
    sources = [source for sample, _ in new.values() for source in sample]
    targets = [ids for sample, text in new.values() for ids in [encoded(model, text)] * len(sample)]
    logp, first = score(model, sources, targets), 0
    for key, (sample, _) in new.items():
        found[key] = _known[key] = logp[first : first + len(sample)]
        first += len(sample)
    while len(_known) > KEPT:
        _known.popitem(last=False)
    return [found[key] for key in keys]


def remember(model: TextModel, sample: list[Array], tokens: Array, logp: Array) -> None:
    """Keep log P (Q,) of an answer that was scored as it was written, segment by segment with its end, where its text
    is cut into the same tokens: `likelihoods` would find the same bits."""
    text = model.text(tokens)
    if np.array_equal(encoded(model, text), tokens):
        _known.setdefault(_key(model, sample, text), logp)


def _key(model: TextModel, sample: list[Array], text: str) -> Key:
    return model.hash, b"|".join(source.tobytes() for source in sample), text


def information(text: str, logp: Array) -> float:
    """S of an answer, given its log P (Q,) under its own message and the others; an empty answer has the least."""
    return max(LEAST, float(mmi(logp[:1], logp[None, 1:])[0])) if text else LEAST


def mixed_cost(chrf: float, s: float, distinct2: float) -> float:
    """100 (1 - [0.5 chrF2 / 100 + 0.3 (1 + S / 10) + 0.2 distinct-2]), and no less than 0."""
    return max(0.0, 100.0 * (1.0 - (0.5 * chrf / 100 + 0.3 * (1 + s / -LEAST) + 0.2 * distinct2)))


def chunk_cost(chunk: ChunkScore, texts: Sequence[str], s: Sequence[float]) -> float:
    """The cost of all answers of a chunk, given the S of each. Of distinct-2 the share of messages counts that are
    answered: who leaves out what would repeat gains nothing.
    """
    answered = sum(map(bool, texts)) / len(texts)
    return mixed_cost(chunk.chrf(chunk.counts(texts)), sum(s) / len(s), answered * distinct(map(str.split, texts), 2))


def metrics_of(texts: Sequence[str], logp: Sequence[Array]) -> dict[str, float]:
    """Metrics of answers that no reference is needed for, given their log P (Q,) under Phi."""
    count = len(texts)
    ahead = [bool(text) and bool((each[1:FIRST] < each[0]).all()) for text, each in zip(texts, logp, strict=True)]
    return {
        "mmi": sum(information(*pair) for pair in zip(texts, logp, strict=True)) / count,
        "distinct1": distinct(map(str.split, texts), 1),
        "distinct2": distinct(map(str.split, texts), 2),
        "chars": sum(map(len, texts)) / count,
        "short": sum(len(text) < SHORT for text in texts) / count,
        "first": sum(ahead) / count,
        "logprob": float(np.sum([each[0] for each in logp])),
    }
