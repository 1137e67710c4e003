"""Numba kernels of legality: where a macro fits, what overlaps, what sticks out."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit

TOUCH = 1e-6  # microns by which macros may overlap or stick out: rounding, not area


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
def overlaps(macros, placed, x, y, width, height):
    """Pairs of placed macros that overlap by more than rounding, and the area of all overlaps."""
    order = macros[np.argsort((x - width / 2)[macros])]
    pairs, area = 0, 0.0
    for i in range(len(order)):
        a = order[i]
        if not placed[a]:
            continue
        for j in range(i + 1, len(order)):
            b = order[j]
            if x[b] - width[b] / 2 >= x[a] + width[a] / 2 - TOUCH:
                break
            if not placed[b]:
                continue
            wide = min(x[a] + width[a] / 2, x[b] + width[b] / 2) - max(x[a] - width[a] / 2, x[b] - width[b] / 2)
            tall = min(y[a] + height[a] / 2, y[b] + height[b] / 2) - max(y[a] - height[a] / 2, y[b] - height[b] / 2)
            if wide > TOUCH and tall > TOUCH:
                pairs += 1
                area += wide * tall
    return pairs, area


@njit
def outside(macros, placed, x, y, width, height, canvas_width, canvas_height):
    """Number of placed macros that stick out of the canvas by more than rounding."""
    count = 0
    for i in macros:
        if placed[i] and (
            x[i] - width[i] / 2 < -TOUCH or x[i] + width[i] / 2 > canvas_width + TOUCH
            or y[i] - height[i] / 2 < -TOUCH or y[i] + height[i] / 2 > canvas_height + TOUCH
        ):  # fmt: skip
            count += 1
    return count


@njit
def fits(macro, new_x, new_y, obstacles, x, y, width, height, canvas_width, canvas_height, moved, count):
    """Whether a macro at a place lies inside and overlaps no obstacle that is not itself moved."""
    half_w, half_h = width[macro] / 2, height[macro] / 2
    if new_x - half_w < -TOUCH or new_x + half_w > canvas_width + TOUCH:
        return False
    if new_y - half_h < -TOUCH or new_y + half_h > canvas_height + TOUCH:
        return False
    for other in obstacles:
        skip = False
        for k in range(count):
            if moved[k] == other:
                skip = True
        if skip:
            continue
        if (abs(x[other] - new_x) < half_w + width[other] / 2 - TOUCH
                and abs(y[other] - new_y) < half_h + height[other] / 2 - TOUCH):  # fmt: skip
            return False
    return True


@njit
def apart(count, nodes, new_x, new_y, width, height):
    """Whether moved macros do not overlap each other at their new places."""
    for a in range(count):
        for b in range(a + 1, count):
            i, j = nodes[a], nodes[b]
            if (abs(new_x[a] - new_x[b]) < (width[i] + width[j]) / 2 - TOUCH
                    and abs(new_y[a] - new_y[b]) < (height[i] + height[j]) / 2 - TOUCH):  # fmt: skip
                return False
    return True
