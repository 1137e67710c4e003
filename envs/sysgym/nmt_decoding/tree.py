"""The beam as a tree: what stood in its slots after every step, and what the answer came of."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sysgym.core.problem import Array
from sysgym.text.hypotheses import Trail
from sysgym.text.model import TextModel

COLUMN, ROW = 74, 20  # pixels of a step, of a slot
STEPS, SLOTS, LETTERS = 12, 10, 7  # that are shown
ANSWER, OTHER, DROPPED, EDGE = "#1a7f37", "#444444", "#b35900", "#bbbbbb"
LEGEND = "columns are steps, rows hypotheses, best first; green: what the answer came of; brown: dropped; a dot: ended"


def ancestors(trail: Trail) -> Array:
    """The slot (T,) of each step that the best hypothesis of the last one came of."""
    found, slot = np.zeros(len(trail.parents), np.int64), 0
    for step in reversed(range(len(found))):
        found[step], slot = slot, int(trail.parents[step, slot])
    return found


def tree(model: TextModel, source: str, trail: Trail, kept: Array, font: Any) -> Image.Image:
    """The search for the answer to one sentence; `kept` (T,) says how many hypotheses went on from each step."""
    end, path = model.special.end, ancestors(trail)
    steps, slots = min(len(path), STEPS), min(trail.tokens.shape[1], SLOTS)
    image = Image.new("RGB", (COLUMN * (STEPS + 1), ROW * (slots + 1) + 8), "white")
    pen = ImageDraw.Draw(image)
    pen.text((0, 0), source[:120], "black", font)
    for step in range(steps):
        for slot in range(slots):
            if trail.logp[step, slot] == -np.inf:
                continue
            parent, token = int(trail.parents[step, slot]), int(trail.tokens[step, slot])
            over = step > 0 and trail.tokens[step - 1, parent] == end
            x, y = COLUMN * step, ROW * (slot + 1) + 4
            mine = path[step] == slot
            colour = ANSWER if mine else DROPPED if slot >= kept[step] else OTHER
            if step and parent < slots:
                begin, wide = (x - 14, ROW * (parent + 1) + 4 + ROW // 2), 2 if mine else 1
                pen.line([begin, (x - 2, y + ROW // 2)], ANSWER if mine else EDGE, wide)
            if over or token == end:
                pen.ellipse([x + 2, y + 6, x + 9, y + 13], fill=colour)
            else:
                pen.text((x + 2, y + 2), model.target.piece(token)[:LETTERS], colour, font)
    if len(path) > STEPS:
        pen.text((COLUMN * STEPS, ROW + 6), f"{len(path) - STEPS} more steps", OTHER, font)
    return image
