"""Answers as text; as pictures what each of their tokens attends to, and the searches that found them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.core.drawing.tools import cut, font, heat
from sysgym.core.problem import Array, Verdict
from sysgym.nmt_decoding.tree import LEGEND, OTHER, tree
from sysgym.text.episodes.sentences import Sentences
from sysgym.text.hypotheses import Trail
from sysgym.text.model import TextModel
from sysgym.text.scoring import attentions

WIDTH, MARGIN, TOP = 960, 24, 64
SHOWN, LINES = 4, 40  # sentences in a picture, and in a text
CELL, ROOM, GAP = 20, 110, 18  # pixels of a cell, of the labels beside it, between two sentences
MOST = 36  # positions and tokens that are shown
LABEL, LETTERS = 12, 12  # size of labels, and letters of a piece
Row = dict[str, Any]  # "source" and "answer"


def describe(instance: Sentences, rows: Sequence[Row], verdict: Verdict) -> str:
    """Cost, metrics, and each sentence with its answer."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in verdict.metrics.items())
    lines = [f"{instance.name}: {len(instance)} sentence(s), cost {verdict.cost:.4f} ({figures})", *verdict.violations]
    wide = max(len(row["source"]) for row in rows[:LINES])
    lines += [f"  {row['source']:<{min(wide, 60)}}  ->  {row['answer']}" for row in rows[:LINES]]
    return "\n".join([*lines, *([f"  and {len(rows) - LINES} more"] if len(rows) > LINES else [])])


def draw(model: TextModel, instance: Sentences, rows: Sequence[Row], verdict: Verdict) -> Array:
    """The attention of the first answers' tokens to the positions of their sources, (H, 960, 3) uint8."""
    return _page(model, instance, verdict, [_map(model, row) for row in rows[:SHOWN]])


def draw_trees(model: TextModel, instance: Sentences, verdict: Verdict, trails: Sequence[tuple[Trail, Array]]) -> Array:
    """The searches for the first answers, each with how many hypotheses went on, (H, W, 3) uint8."""
    about = Image.new("RGB", (WIDTH, 20), "white")
    ImageDraw.Draw(about).text((0, 0), LEGEND, OTHER, font(LABEL))
    trees = [tree(model, line, *trail, font(LABEL)) for line, trail in zip(instance.sources, trails, strict=False)]
    return _page(model, instance, verdict, [about, *trees])


def _page(model: TextModel, instance: Sentences, verdict: Verdict, parts: Sequence[Image.Image]) -> Array:
    """Title, figures, and pictures below."""
    height = TOP + sum(each.height + GAP for each in parts) + MARGIN
    image = Image.new("RGB", (max(WIDTH, *(each.width + 2 * MARGIN for each in parts)), height), "white")
    pen, at = ImageDraw.Draw(image), TOP
    title = f"{cut(pen, instance.name, 420, 16)}   {len(instance)} sentence(s), {model.name}"
    pen.text((MARGIN, 12), title, "black", ImageFont.load_default(16))
    figures = ", ".join(f"{name} {value:.4g}" for name, value in verdict.metrics.items())
    pen.text((MARGIN, 36), f"cost {verdict.cost:.3f}   ({figures})", "black", ImageFont.load_default(13))
    for each in parts:
        image.paste(each, (MARGIN, at))
        at += each.height + GAP
    return np.asarray(image, np.uint8).copy()


def _map(model: TextModel, row: Row) -> Image.Image:
    """One sentence: its pieces across, the answer's down, darker where attention is larger."""
    answer = model.target.encode(row["answer"])[:MOST] if row["answer"] else np.zeros(0, np.int64)
    read, shares = attentions(model, model.ids(row["source"]), answer)[0]
    read, shares = read[:MOST], shares[:, :MOST]
    across = [model.source.piece(int(token)) for token in read]
    down = [model.target.piece(int(token)) for token in answer]
    room = 12 + 8 * min(max(map(len, across)), LETTERS)
    image = Image.new("RGB", (WIDTH - 2 * MARGIN, room + CELL * max(len(down), 1)), "white")
    pen = ImageDraw.Draw(image)
    for column, piece in enumerate(across):
        label = Image.new("RGB", (room, CELL), "white")
        ImageDraw.Draw(label).text((2, 2), piece[:LETTERS], "black", font(LABEL))
        image.paste(label.rotate(90, expand=True), (ROOM + CELL * column, 0))
    for line, (piece, values) in enumerate(zip(down, shares, strict=False)):
        y = room + CELL * line
        pen.text((0, y + 2), piece[:LETTERS], "black", font(LABEL))
        for column, colour in enumerate(heat(np.asarray(values, np.float64), 1.0).tolist()):
            x = ROOM + CELL * column
            pen.rectangle([x, y, x + CELL - 2, y + CELL - 2], fill=tuple(int(part) for part in colour))
    beside = ROOM + CELL * len(across) + 16
    for line, text in enumerate((row["source"], row["answer"])):
        shown = text if len(text) * 7 < WIDTH - beside - MARGIN else f"{text[: (WIDTH - beside - MARGIN) // 7 - 4]} ..."
        pen.text((beside, room + 2 + 20 * line), shown, "black", font(LABEL))
    return image
