"""How good a model is at pairs it has not seen: BLEU and chrF of what it writes, by our own greedy search."""

from __future__ import annotations

from typing import Any

from sysgym.text.metrics import corpus_bleu, corpus_chrf
from sysgym.text.model import TextModel
from sysgym.text.search import Beam, beam_search, greedy
from sysgym.text.segments import segment_beams
from sysgym.text.vocabulary import MAX_PIECES
from sysgym_agents.decoding.training.texts import Pairs


def decoded_scores(model: TextModel, pairs: Pairs, count: int, width: int = 1) -> dict[str, Any]:
    """BLEU and chrF2 of the first `count` pairs that are not too long; segment by segment where the model has those."""
    rows = [i for i, text in enumerate(pairs.sources) if 0 < len(model.source.encode(text, None)) <= MAX_PIECES]
    chosen = pairs.take(rows[:count])
    if not chosen.sources:
        return {}
    sources, beam = [model.ids(text) for text in chosen.sources], Beam(width=width)
    if model.special.segment:
        written = [each.tokens for each in segment_beams(model, sources, beam)[0]]
    else:
        found = greedy(model, sources) if width == 1 else beam_search(model, sources, beam)
        written = [found.best(place) for place in range(len(sources))]
    texts = [model.text(tokens) for tokens in written]
    return {
        "bleu": corpus_bleu(texts, chosen.targets),
        "chrf": corpus_chrf(texts, chosen.targets),
        "sample": len(texts),
    }
