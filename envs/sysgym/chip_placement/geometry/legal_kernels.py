"""Numba kernels of legality: where a macro fits, what overlaps, what sticks out."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit

TOUCH = 1e-6  # microns by which macros that are being placed may overlap or stick out: rounding, not area


@njit
def node_mask(obstacles, placed, x, y, width, height, wide, tall, canvas_width, canvas_height, spacing, mask):
    """1 in mask (rows, columns) where a macro `wide` by `tall` fits with its centre on the centre of the cell.

    It must lie inside the canvas and keep `spacing` microns from every placed obstacle; touching is allowed.
    """
    rows, columns = mask.shape
    cell_w, cell_h = canvas_width / columns, canvas_height / rows
    mask[:] = 0
    for r in range(rows):
        cy = (r + 0.5) * cell_h
        if cy - tall / 2 < -TOUCH or cy + tall / 2 > canvas_height + TOUCH:
            continue
        for c in range(columns):
            cx = (c + 0.5) * cell_w
            if cx - wide / 2 >= -TOUCH and cx + wide / 2 <= canvas_width + TOUCH:
                mask[r, c] = 1
    for i in obstacles:
        if not placed[i]:
            continue
        # centres closer than this are too close
        far_x, far_y = (wide + width[i]) / 2 + spacing - TOUCH, (tall + height[i]) / 2 + spacing - TOUCH
        c0 = max(int(np.floor((x[i] - far_x) / cell_w - 0.5)) + 1, 0)
        c1 = min(int(np.ceil((x[i] + far_x) / cell_w - 0.5)) - 1, columns - 1)
        r0 = max(int(np.floor((y[i] - far_y) / cell_h - 0.5)) + 1, 0)
        r1 = min(int(np.ceil((y[i] + far_y) / cell_h - 0.5)) - 1, rows - 1)
        mask[r0 : r1 + 1, c0 : c1 + 1] = 0


@njit
def overlaps(macros, placed, x, y, width, height, fixed, tolerance):
    """Pairs of placed macros, not both fixed, that share more than `tolerance` in both directions.

    Their number, the area that they share, and the largest depth of any two, below the tolerance too. Negative
    tolerances count pairs that are nearer than that.
    """
    order = macros[np.argsort((x - width / 2)[macros])]
    pairs, area, deepest, least = 0, 0.0, 0.0, min(tolerance, 0.0)
    for i in range(len(order)):
        a = order[i]
        if not placed[a]:
            continue
        for j in range(i + 1, len(order)):
            b = order[j]
            if x[b] - width[b] / 2 >= x[a] + width[a] / 2 - least:
                break
            if not placed[b] or (fixed[a] and fixed[b]):
                continue
            wide = min(x[a] + width[a] / 2, x[b] + width[b] / 2) - max(x[a] - width[a] / 2, x[b] - width[b] / 2)
            tall = min(y[a] + height[a] / 2, y[b] + height[b] / 2) - max(y[a] - height[a] / 2, y[b] - height[b] / 2)
            deepest = max(deepest, min(wide, tall))
            if wide > tolerance and tall > tolerance:
                pairs += 1
                area += wide * tall
    return pairs, area, deepest


@njit
def outside(macros, placed, x, y, width, height, canvas_width, canvas_height, tolerance):
    """Number of placed macros that stick out of the canvas by more than `tolerance`, and the farthest that one does."""
    count, farthest = 0, 0.0
    for i in macros:
        if placed[i]:
            far = max(width[i] / 2 - x[i], x[i] + width[i] / 2 - canvas_width,
                      height[i] / 2 - y[i], y[i] + height[i] / 2 - canvas_height)  # fmt: skip
            farthest = max(farthest, far)
            count += far > tolerance
    return count, farthest


@njit
def disjoint(macros, placed, x, y, width, height, fixed):
    """Whether no two placed macros, not both fixed, share any area, in the precision of the arrays."""
    left, right, low, high = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    order = macros[np.argsort(left[macros])]
    for i in range(len(order)):
        a = order[i]
        for j in range(i + 1, len(order)):
            b = order[j]
            if left[b] >= right[a]:
                break
            if placed[a] and placed[b] and not (fixed[a] and fixed[b]) and low[a] < high[b] and low[b] < high[a]:
                return False
    return True


@njit
def fits(macro, new_x, new_y, obstacles, x, y, width, height, canvas_width, canvas_height, gap, margin, moved, count):
    """Whether a macro at a place keeps `margin` from the border and `gap` from obstacles that are not moved."""
    half_w, half_h = width[macro] / 2, height[macro] / 2
    rim = margin - TOUCH
    if new_x - half_w < rim or new_x + half_w > canvas_width - rim:
        return False
    if new_y - half_h < rim or new_y + half_h > canvas_height - rim:
        return False
    far_w, far_h = half_w + gap - TOUCH, half_h + gap - TOUCH
    for other in obstacles:
        skip = False
        for k in range(count):
            if moved[k] == other:
                skip = True
        if skip:
            continue
        if abs(x[other] - new_x) < far_w + width[other] / 2 and abs(y[other] - new_y) < far_h + height[other] / 2:
            return False
    return True


@njit
def apart(count, nodes, new_x, new_y, width, height, gap):
    """Whether moved macros keep `gap` from each other at their new places."""
    for a in range(count):
        for b in range(a + 1, count):
            i, j = nodes[a], nodes[b]
            if (abs(new_x[a] - new_x[b]) < (width[i] + width[j]) / 2 + gap - TOUCH
                    and abs(new_y[a] - new_y[b]) < (height[i] + height[j]) / 2 + gap - TOUCH):  # fmt: skip
                return False
    return True
