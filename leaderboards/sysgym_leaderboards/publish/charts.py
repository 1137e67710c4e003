"""Inline SVG: intervals beside scores and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

COLOURS = ("#1f6fb4", "#d9730d", "#2b8a3e", "#a3212f", "#7048a8", "#7b5544", "#c2409a", "#5c6570")
SHOWN = len(COLOURS)  # entries that get a line, a column or a row of their own
BAR_WIDTH, BAR_HEIGHT, PAD = 220, 26, 18


def _position(value: float, low: float, high: float) -> float:
    """Place of a ratio on a logarithmic scale: one bad entry must not press all others together."""
    value, low, high = (math.log(max(number, 1e-6)) for number in (value, low, high))
    span = high - low if high > low else 1.0
    return round(PAD + (BAR_WIDTH - 2 * PAD) * (value - low) / span, 1)


def _svg(width: int, height: int, label: str, body: str) -> str:
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{label}">{body}</svg>'
    )


def interval_bar(score: float, low: float, high: float, least: float, most: float) -> str:
    """A score and its interval on the logarithmic scale from `least` to `most`; the dashed line is the reference, 1."""
    x, left, right, one = (_position(value, least, most) for value in (score, low, high, 1.0))
    middle = BAR_HEIGHT / 2
    body = (
        f'<line x1="{one}" x2="{one}" y1="0" y2="{BAR_HEIGHT}" stroke="#8a94a3" stroke-dasharray="3 3"/>'
        f'<rect x="{left}" y="{middle - 5:g}" width="{max(1.0, right - left):.1f}" height="10" rx="2" fill="#9cc4e4"/>'
        f'<circle cx="{x}" cy="{middle:g}" r="4.5" fill="#14507f"/>'
    )
    return _svg(BAR_WIDTH, BAR_HEIGHT, f"{score:.3f}, interval {low:.3f} to {high:.3f}", body)


def interval_axis(least: float, most: float) -> str:
    """The numbers above a column of interval bars."""
    ticks = sorted({least, 1.0, most})
    one = _position(1.0, least, most)
    spread = [tick for tick in ticks if tick == 1.0 or abs(_position(tick, least, most) - one) > 34]
    body = "".join(
        f'<text x="{_position(tick, least, most)}" y="16" font-size="12" text-anchor="middle" fill="#566070">'
        f"{tick:.2f}</text>"
        for tick in spread
    )
    return _svg(BAR_WIDTH, 20, "scale of the intervals", body)


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
