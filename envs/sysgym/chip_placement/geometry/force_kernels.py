"""Numba kernels of the force-directed placer: attraction, repulsion, moves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array


class Nets(NamedTuple):
    """What pulls."""

    ptr: Array
    pins: Array
    weight: Array
    parent: Array


class Bodies(NamedTuple):
    """What is pulled and pushed; positions and sizes are float32."""

    macros: Array
    soft: Array  # free to move
    placed: Array
    x: Array
    y: Array
    px: Array
    py: Array
    width: Array
    height: Array


class Phases(NamedTuple):
    """Steps, reach (of the canvas), attraction and repulsion of each phase."""

    steps: Array
    factors: Array
    pull: Array
    push: Array


@njit
def attract(ptr, pins, weight, parent, soft, x, y, px, py, strength, fx, fy):
    """Pull the soft macros of every driver and sink together, in proportion to their distance."""
    for e in range(len(weight)):
        driver = pins[ptr[e]]
        a = parent[driver]
        ax = x[a] if soft[a] else px[driver]
        ay = y[a] if soft[a] else py[driver]
        k = weight[e] * strength
        for j in range(ptr[e] + 1, ptr[e + 1]):
            sink = pins[j]
            b = parent[sink]
            dx = k * ((x[b] if soft[b] else px[sink]) - ax)
            dy = k * ((y[b] if soft[b] else py[sink]) - ay)
            if soft[a]:
                fx[a] += dx
                fy[a] += dy
            if soft[b]:
                fx[b] -= dx
                fy[b] -= dy


@njit
def repel(macros, soft, placed, x, y, width, height, strength, fx, fy):
    """Push every overlapping pair with a soft macro apart, along the line between their centres."""
    order = macros[np.argsort((x - width / 2)[macros])]  # sweep from left to right
    for i in range(len(order)):
        a = order[i]
        if not placed[a]:
            continue
        right = x[a] + width[a] / 2
        for j in range(i + 1, len(order)):
            b = order[j]
            if x[b] - width[b] / 2 >= right:
                break
            if not placed[b] or not (soft[a] or soft[b]) or abs(y[a] - y[b]) >= (height[a] + height[b]) / 2:
                continue
            dx, dy = x[a] - x[b], y[a] - y[b]
            far = np.sqrt(dx * dx + dy * dy)
            first, second = min(a, b), max(a, b)
            if far == 0.0:
                ux, uy = -1.0, -1.0
            else:
                ux, uy = (x[first] - x[second]) / far, (y[first] - y[second]) / far
            if soft[first]:
                fx[first] += ux * strength
                fy[first] += uy * strength
            if soft[second]:
                fx[second] -= ux * strength
                fy[second] -= uy * strength


@njit
def move_soft(macros, soft, x, y, width, height, canvas_width, canvas_height, reach, fx, fy):
    """Move soft macros by their force, at most `reach` microns in x and in y; none leaves the canvas."""
    largest_x = largest_y = 0.0
    for i in macros:
        if soft[i]:
            largest_x, largest_y = max(largest_x, abs(fx[i])), max(largest_y, abs(fy[i]))
    for i in macros:
        if not soft[i]:
            continue
        nx = x[i] + (fx[i] / largest_x * reach if largest_x > 0 else 0.0)
        ny = y[i] + (fy[i] / largest_y * reach if largest_y > 0 else 0.0)
        half_w, half_h = width[i] / 2, height[i] / 2
        if half_w <= nx <= canvas_width - half_w and half_h <= ny <= canvas_height - half_h:
            x[i], y[i] = nx, ny


@njit
def force_directed(nets, bodies, canvas_width, canvas_height, phases):
    """Phases of attraction or repulsion; moves the x, y of the bodies that are free to move in place."""
    ptr, pins, weight, parent = nets
    macros, soft, placed, x, y, px, py, width, height = bodies
    steps, factors, pull, push = phases
    fx, fy = np.zeros_like(x), np.zeros_like(x)
    for phase in range(len(steps)):
        reach = np.float32(factors[phase] * max(canvas_width, canvas_height) / steps[phase])
        for _ in range(steps[phase]):
            fx[:] = 0.0
            fy[:] = 0.0
            if pull[phase] > 0 and push[phase] <= 1e4 * pull[phase]:
                attract(ptr, pins, weight, parent, soft, x, y, px, py, pull[phase], fx, fy)
            if push[phase] > 0 and pull[phase] <= 1e4 * push[phase]:
                repel(macros, soft, placed, x, y, width, height, push[phase] * reach, fx, fy)
            move_soft(macros, soft, x, y, width, height, canvas_width, canvas_height, reach, fx, fy)
