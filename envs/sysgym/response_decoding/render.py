"""Conversations as text and as a picture: messages, answers with the borders of their segments, S and characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from sysgym.core.drawing.tools import cut, font
from sysgym.core.problem import Array, Verdict
from sysgym.response_decoding.instance import Messages
from sysgym.response_decoding.worth import information, likelihoods
from sysgym.text.episodes.ranked import encoded
from sysgym.text.model import TextModel

WIDTH, MARGIN, TOP = 960, 24, 72
SHOWN, LINES = 10, 40  # messages in a picture, and in a text
BUBBLE, LINE, LETTER = 620, 20, 14  # pixels of a bubble and of a line, size of letters
ASKED, COLOURS = (228, 230, 235), ((198, 224, 255), (167, 205, 250))  # of a message; of segments in turn


class Turn(NamedTuple):
    """A message and its answer."""

    message: str
    segments: list[str]  # of the answer
    s: float

    @property
    def answer(self) -> str:
        """The answer."""
        return "".join(self.segments)


def turns(model: TextModel, samples: Sequence[list[Array]], rows: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The conversations that are shown."""
    rows, samples = rows[:LINES], samples[:LINES]
    logp = likelihoods(model, [(sample, row["answer"]) for sample, row in zip(samples, rows, strict=True)])
    return [
        Turn(row["source"], _segments(model, row["answer"]), information(row["answer"], each))
        for row, each in zip(rows, logp, strict=True)
    ]


def _segments(model: TextModel, text: str) -> list[str]:
    """The text cut where the model encodes it anew."""
    tokens, every = encoded(model, text), model.special.segment or max(1, len(text))
    ends = [len(model.text(tokens[:last])) for last in range(every, len(tokens), every)]
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)] if text else []


def describe(instance: Messages, rows: Sequence[Turn], verdict: Verdict) -> str:
    """Cost, metrics, and each message with its answer."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in verdict.metrics.items())
    lines = [f"{instance.name}: {len(instance)} message(s), cost {verdict.cost:.4f} ({figures})", *verdict.violations]
    for turn in rows:
        lines.append(f"  > {turn.message}")
        told = f"S {turn.s:.2f}, {len(turn.answer)} characters" if turn.segments else "not answered"
        lines.append(f"    {'|'.join(turn.segments)}   ({told})")
    return "\n".join([*lines, *([f"  and {len(instance) - LINES} more"] if len(instance) > LINES else [])])


def draw(instance: Messages, rows: Sequence[Turn], verdict: Verdict) -> Array:
    """The first conversations, messages at the left and answers at the right, a shade a segment, (H, 960, 3) uint8."""
    drawn = [part for turn in rows[:SHOWN] for part in (_message(turn), _answer(turn))]
    image = Image.new("RGB", (WIDTH, TOP + sum(part.height for part in drawn) + MARGIN), "white")
    pen, at = ImageDraw.Draw(image), TOP
    title = f"{instance.name}   {len(instance)} message(s)   cost {verdict.cost:.3f}"
    pen.text((MARGIN, 12), cut(pen, title, WIDTH - 2 * MARGIN, 16), "black", font(16))
    figures = ", ".join(f"{name} {value:.4g}" for name, value in verdict.metrics.items())
    pen.text((MARGIN, 40), cut(pen, figures, WIDTH - 2 * MARGIN, 13), "black", font(13))
    for part in drawn:
        image.paste(part, (0, at))
        at += part.height
    return np.asarray(image, np.uint8).copy()


def _wrapped(segments: Sequence[str]) -> list[list[tuple[str, int, int]]]:
    """Segments as lines of (word, number of its segment, x); one may begin within a word."""
    lines, x, space = [list[tuple[str, int, int]]()], 0, round(font(LETTER).getlength(" "))
    for number, segment in enumerate(segments):
        for place, word in enumerate(segment.split()):
            apart = place > 0 or segment[:1].isspace()
            wide = round(font(LETTER).getlength(word))
            x += space if x and apart else 0
            if x and x + wide > BUBBLE - 24:
                lines.append([])
                x = 0
            lines[-1].append((word, number, x))
            x += wide
    return lines


def _message(turn: Turn) -> Image.Image:
    lines = _wrapped([turn.message])
    image, pen = _bubble(len(lines), (MARGIN, ASKED))
    for row, line in enumerate(lines):
        pen.text((MARGIN + 12, 6 + LINE * row), " ".join(word for word, _, _ in line), "black", font(LETTER))
    return image


def _answer(turn: Turn) -> Image.Image:
    lines, left = _wrapped(turn.segments), WIDTH - MARGIN - BUBBLE
    image, pen = _bubble(len(lines), (left, (240, 246, 255)))
    for row, line in enumerate(lines):
        for word, number, x in line:
            place = left + 12 + x
            pen.rectangle(
                [place, 7 + LINE * row, place + font(LETTER).getlength(word), 3 + LINE * (row + 1)],
                fill=COLOURS[number % 2],
            )
            pen.text((place, 6 + LINE * row), word, "black", font(LETTER))
    told = (f"S {turn.s:.2f}", f"{len(turn.answer)} characters") if turn.segments else ("not answered", "")
    for row, text in enumerate(told):
        pen.text((MARGIN + 140, 4 + 16 * row), text, (90, 90, 90), font(12))
    return image


def _bubble(lines: int, look: tuple[int, tuple[int, int, int]]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    left, colour = look
    height = max(36, 12 + LINE * lines)
    image = Image.new("RGB", (WIDTH, height + 8), "white")
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle([left, 0, left + BUBBLE, height], 10, fill=colour)
    return image, pen
