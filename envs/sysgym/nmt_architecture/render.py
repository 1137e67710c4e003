"""Pictures of a configuration: for each parameter what its values would give in it, with the scatter of one result."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.core.drawing.tools import TABLEAU, Colour, cut
from sysgym.core.problem import Array, Solution, Verdict
from sysgym.nmt_architecture.instance import POINTS, Configurations
from sysgym.nmt_architecture.live import known

WIDE, MARGIN, TOP = 1080, 20, 84  # pixels: of the page, around it, of its heading
NAME, NUMBERS, LINE, GAP = 180, 120, 19, 16  # of a value's name and numbers, of its row, between parameters
BLACK, GREY, PALE, RED = (0, 0, 0), (110, 110, 110), (228, 228, 228), (200, 0, 0)
OTHER, CHOSEN = TABLEAU[0], TABLEAU[1]
TICKS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Neighbour(NamedTuple):
    """A configuration that differs in one value at most."""

    parameter: int
    value: int
    quality: float
    spread: float
    present: bool


def neighbours(instance: Configurations, design: Array) -> list[Neighbour]:
    """All values of all parameters, each in place of the one that is chosen; no network is trained for it."""
    found, designs = [], known(instance)
    for place, count in enumerate(designs.counts.tolist()):
        for value in range(count):
            changed = np.where(np.arange(len(design)) == place, value, design)
            number = int(designs.number(changed))
            quality, spread, present = 0.0, 0.0, designs.at_hand(number)
            if present:
                quality, spread = POINTS - designs.mean(number), designs.figures(number)["spread"]
            found.append(Neighbour(place, value, quality, spread, present))
    return found


def _heading(instance: Configurations, verdict: Verdict) -> list[tuple[str, int, Colour]]:
    name = Path(instance.name).name if len(instance.name) > 60 else instance.name
    metrics = verdict.metrics
    size = f", {metrics['parameters']:.2f} M parameters" if metrics["parameters"] else ""
    below = f", {metrics['regret']:.2f} below the best" if "regret" in metrics else ""
    scatter = f"one result scatters by {metrics['spread']:.2f}"
    figures = f"{instance.measure} {metrics['quality']:.2f}{below}, {scatter}{size}"
    ink = BLACK if verdict.feasible else RED
    if not verdict.feasible:
        figures = "; ".join(verdict.violations)
    return [
        (f"{name}   {instance.backend}, {instance.evaluations} evaluations", 16, BLACK), (figures, 13, ink),
        (f"Each row: {instance.measure} with that value in place of the chosen one, by its distance to the best "
         "(logarithmic); whiskers, cut there: one standard deviation of a result", 12, GREY),
    ]  # fmt: skip


def draw(instance: Configurations, solution: Solution, verdict: Verdict) -> Array:
    """The values of all parameters below each other, (H, 1080, 3) uint8."""
    design = np.asarray(solution["design"], np.int64)
    shown, counts = neighbours(instance, design), instance.space.counts
    high = TOP + int(counts.sum()) * LINE + len(counts) * (GAP + LINE) + 30
    image = Image.new("RGB", (WIDE, high), "white")
    pen = ImageDraw.Draw(image)
    y = 10
    for text, size, ink in _heading(instance, verdict):
        pen.text((MARGIN, y), cut(pen, text, WIDE - 2 * MARGIN, size), ink, ImageFont.load_default(size))
        y += size + 7
    regret = verdict.metrics.get("regret", 0.0)
    best = max(verdict.metrics["quality"] + regret, *(item.quality for item in shown))
    _axis(pen, high, best)
    y = TOP + 6
    for place, name in enumerate(instance.space.parameters):
        pen.text((MARGIN, y), cut(pen, name, NAME, 13), BLACK, ImageFont.load_default(13))
        y += LINE
        for item in (item for item in shown if item.parameter == place):
            label = instance.space.values[place][item.value]
            _row(pen, y, label, item, (best, item.value == design[place], POINTS - verdict.cost))
            y += LINE
        y += GAP
    return np.asarray(image, np.uint8).copy()


def _at(below: float, best: float) -> float:
    """The x of so many points below the best."""
    share = math.log1p(min(max(below, 0.0), best)) / math.log1p(max(best, 1.0))
    return WIDE - MARGIN - NUMBERS - (WIDE - 2 * MARGIN - NAME - NUMBERS) * share


def _axis(pen: ImageDraw.ImageDraw, high: int, best: float) -> None:
    for tick in TICKS:
        if tick <= best + 1e-9:
            x = _at(tick, best)
            pen.line([(x, TOP), (x, high - 26)], fill=PALE)
            pen.text((x, high - 22), f"-{tick:g}" if tick else f"{best:.2f}", GREY, ImageFont.load_default(11), "ma")


def _row(pen: ImageDraw.ImageDraw, y: int, label: str, item: Neighbour, about: tuple[float, bool, float]) -> None:
    """A value's name, point, whiskers and quality, and what it is over the chosen one, which is orange."""
    best, chosen, own = about
    ink, dark = (CHOSEN, BLACK) if chosen else (OTHER, GREY)
    font = ImageFont.load_default(12)
    pen.text((MARGIN + 14, y), cut(pen, label, NAME - 20, 12), dark, font)
    if not item.present:
        pen.text((_at(0, best), y), "no result", GREY, font, "ra")
        return
    middle, below = y + 8, best - item.quality
    pen.line([(_at(below + item.spread, best), middle), (_at(below - item.spread, best), middle)], fill=ink, width=2)
    x, radius = _at(below, best), 5 if chosen else 4
    pen.ellipse([x - radius, middle - radius, x + radius, middle + radius], fill=ink)
    pen.text((WIDE - MARGIN - 52, y), f"{item.quality:.2f}", dark, font, "ra")
    pen.text((WIDE - MARGIN, y), "chosen" if chosen else f"{item.quality - own:+.2f}", dark, font, "ra")


def describe(instance: Configurations, solution: Solution, verdict: Verdict) -> str:
    """The values, and the best change of each, as text."""
    design = np.asarray(solution["design"], np.int64)
    shown = neighbours(instance, design)
    lines = [text for text, _, _ in _heading(instance, verdict)[:2]]
    for place, name in enumerate(instance.space.parameters):
        own = next(item for item in shown if item.parameter == place and item.value == design[place])
        others = [item for item in shown if item.parameter == place and item.value != design[place] and item.present]
        line = f"{name}: {instance.space.values[place][own.value]}"
        if others:
            best = max(others, key=lambda item: item.quality)
            gain = best.quality - own.quality
            line += f" (best other: {instance.space.values[place][best.value]}, {gain:+.2f} +- {best.spread:.2f})"
        lines.append(line)
    return "\n".join(lines)
