"""Inline SVG: intervals beside scores and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

COLOURS = ("#1f6fb4", "#d9730d", "#2b8a3e", "#a3212f", "#7048a8", "#7b5544", "#c2409a", "#5c6570")
SHOWN = len(COLOURS)  # entries that get a line, a column or a row of their own
BAR_WIDTH, BAR_HEIGHT, PAD = 220, 26, 18
MOST, TENTH = 0.75, 0.1  # so much of the entries within so little of a scale: it ends before the others
LABEL = 30  # pixels between the middles of two numbers


def _position(value: float, low: float, high: float) -> float:
    """Place of a ratio on a logarithmic scale, at its end if it is beyond."""
    value, low, high = (math.log(max(number, 1e-6)) for number in (value, low, high))
    span = high - low if high > low else 1.0
    return round(PAD + (BAR_WIDTH - 2 * PAD) * min(max(0.0, (value - low) / span), 1.0), 1)


def scale_of(intervals: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Where the logarithmic scale of intervals (score, low, high) begins and ends: it holds all of them and 1, unless a
    few bad scores would press three quarters of all into a tenth of it; then it ends with the intervals of these.

    >>> scale_of([(0.9, 0.8, 1.1), (1.2, 1.1, 1.3), (2.0, 1.9, 2.5)])
    (0.8, 2.5)
    >>> scale_of([(0.9, 0.8, 1.1), (1.0, 0.9, 1.1), (1.0, 0.9, 1.2), (100.0, 90.0, 100.0)])
    (0.8, 1.2)
    """
    found = sorted(intervals)
    low, high = (pick([1.0, *(each[end] for each in found)]) for pick, end in ((min, 1), (max, 2)))
    kept = found[: math.ceil(MOST * len(found))]
    spread = math.log(max(kept[-1][0], 1e-6) / max(kept[0][0], 1e-6))
    if len(kept) == len(found) or spread >= TENTH * math.log(max(high, 1e-6) / max(low, 1e-6)):
        return low, high
    return low, max(1.0, *(each[2] for each in kept))


def _svg(width: int, height: int, label: str, body: str) -> str:
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}">{body}</svg>'
    )


def interval_bar(score: float, low: float, high: float, least: float, most: float) -> str:
    """A score and its interval on the logarithmic scale from `least` to `most`; the dashed line is the reference, 1. An
    arrow stands at the end of the scale for a score beyond.
    """
    x, left, right, one = (_position(value, least, most) for value in (score, low, high, 1.0))
    middle = BAR_HEIGHT / 2
    mark = f'<circle cx="{x}" cy="{middle:g}" r="4.5" fill="#14507f"/>'
    if score > most:
        mark = f'<path d="M{x} {middle - 6:g}l9 6l-9 6z" fill="#14507f"/>'
    body = (
        f'<line x1="{one}" x2="{one}" y1="0" y2="{BAR_HEIGHT}" stroke="#8a94a3" stroke-dasharray="3 3"/>'
        f'<rect x="{left}" y="{middle - 5:g}" width="{max(1.0, right - left):.1f}" height="10" rx="2" fill="#9cc4e4"/>'
        f"{mark}"
    )
    return _svg(BAR_WIDTH, BAR_HEIGHT, f"{score:.3f}, interval {low:.3f} to {high:.3f}", body)


def interval_axis(least: float, most: float) -> str:
    """The numbers above a column of interval bars: 1, both ends, and round ones where there is room."""
    spread: list[float] = []
    for tick in (1.0, least, most, *_round_numbers(least, most)):
        if all(abs(_position(tick, least, most) - _position(other, least, most)) > LABEL for other in spread):
            spread.append(tick)
    body = "".join(
        f'<text x="{_position(tick, least, most)}" y="16" font-size="12" text-anchor="middle" fill="#566070">'
        f"{f'{tick:.2f}' if tick < 9.995 else f'{tick:.3g}'}</text>"
        for tick in sorted(spread)
    )
    return _svg(BAR_WIDTH, 20, "logarithmic scale of the intervals", body)


def _round_numbers(least: float, most: float) -> list[float]:
    """Powers of ten between two numbers, then 2 and 5 times those; if they are close, then multiples of 0.1 too."""
    powers = [10.0**n for n in range(math.floor(math.log10(max(least, 1e-6))), math.ceil(math.log10(most)) + 1)]
    found = [factor * power for factor in (1, 2, 5) for power in powers]
    close = [n / 10 for n in range(math.ceil(10 * least), math.ceil(10 * most))] if most - least <= 1 else []
    return [number for number in found + close if least < number < most]


def profile_chart(taus: Sequence[float], shares: Sequence[Sequence[float]]) -> str:
    """Share of instances (upwards) within a ratio to the reference (to the right), one line an entry."""
    width, height, left, bottom, top = 640, 260, 46, 40, 10
    low, high = taus[0], taus[-1]

    def x(tau: float) -> float:
        return round(left + (width - left - 12) * (tau - low) / (high - low), 1)

    def y(share: float) -> float:
        return round(top + (height - top - bottom) * (1 - share), 1)

    grid = "".join(
        f'<line x1="{left}" x2="{width - 12}" y1="{y(share)}" y2="{y(share)}" stroke="#e3e7ec"/>'
        f'<text x="{left - 8}" y="{y(share) + 4}" font-size="12" text-anchor="end" fill="#566070">{share:.0%}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    ticks = "".join(
        f'<text x="{x(tau)}" y="{height - bottom + 18}" font-size="12" text-anchor="middle" fill="#566070">'
        f"{tau:g}</text>"
        for tau in (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
        if low <= tau <= high
    )
    title = (
        f'<text x="{(left + width) / 2:g}" y="{height - 4}" font-size="12" text-anchor="middle" fill="#566070">'
        "cost / reference cost</text>"
        f'<line x1="{x(1)}" x2="{x(1)}" y1="{top}" y2="{height - bottom}" stroke="#8a94a3" stroke-dasharray="3 3"/>'
    )
    lines = "".join(_steps([x(tau) for tau in taus], [y(s) for s in row], COLOURS[i]) for i, row in enumerate(shares))
    return _svg(width, height, "performance profile", grid + ticks + title + lines)


def _steps(xs: Sequence[float], ys: Sequence[float], colour: str) -> str:
    path = f"M{xs[0]} {ys[0]}" + "".join(f"H{x}V{y}" for x, y in zip(xs[1:], ys[1:], strict=True))
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
