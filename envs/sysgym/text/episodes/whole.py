"""Whole answers of models that read them anew segment by segment, as plain token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysgym.core.problem import Array
from sysgym.text.hypotheses import ROWS
from sysgym.text.model import TextModel
from sysgym.text.sampling import Draw, sample_from
from sysgym.text.segments import Written, as_candidates, by_segments, committed, resumed


def sampled_segments(
    model: TextModel, sources: Sequence[Array], draw: Draw, limit: int, sentences: Array | None = None
) -> list[Written]:
    """One sampled answer of `limit` tokens at most to each sentence; `sentences` (S,) are the numbers by which noise is
    drawn, 0, 1, ... if None. With the temperature 1 and no `top` it is ancestral sampling.
    """
    draw.check()
    numbers = np.arange(len(sources)) if sentences is None else np.asarray(sentences, dtype=np.int64)

    def write(rows: Array, written: Sequence[Written], room: int) -> tuple[list[Written], Array]:
        found, forwards = list[Written](), list[Array]()
        for first in range(0, len(rows), ROWS):
            part, before = rows[first : first + ROWS], written[first : first + ROWS]
            begin, extra = resumed(model, [sources[row] for row in part], before)
            past = len(before[0].tokens)  # those under way are of one length
            drawn = sample_from(model, begin, min(model.special.segment or 10, room), draw, numbers[part], past)
            found += [committed(each, as_candidates(drawn, row, None), 0) for row, each in enumerate(before)]
            forwards.append(drawn.forwards + extra)
        return found, np.concatenate(forwards)

    return by_segments(len(sources), limit, write)[0]
