"""Numba kernels of the analytic placer: annealing of hard and soft macros at any coordinates on the exact proxy.

The means of the largest density and congestion values are kept as min over t of t + sum(max(v - t, 0)) / k (Rockafellar
and Uryasev's form of a tail mean). With t from the last refresh it is an upper bound, exact whenever it is refreshed,
and one pass over the maps finds it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.chip_placement.geometry.legal_kernels import apart, fits
from sysgym.chip_placement.geometry.move_kernels import shift_pins
from sysgym.chip_placement.kernels import block_bound, cover, net_length, route_net, smooth
from sysgym.compiled import njit
from sysgym.core.problem import Array

SHIFT, JUMP, SWAP, MIRROR, SNAP = range(5)


@njit(fastmath=True)
def excess(values, scale, more, threshold):
    """Sum of max(values * scale + more - threshold, 0) over two maps of the same shape."""
    total = 0.0
    values, more = values.ravel(), more.ravel()
    for i in range(values.size):
        total += max(values[i] * scale + more[i] - threshold, 0.0)
    return total


@njit
def tail(values, count):
    """The `count`-th largest of a vector: the threshold at which the bound is exact."""
    return np.partition(values, len(values) - count)[len(values) - count]


@njit
def density_bound(grid, none, threshold):
    """Density cost, at least; `none` is a map of zeros."""
    return 0.5 * (threshold + excess(grid, 1.0, none, threshold) / max(1, grid.size // 10))


@njit
def spread(hor, ver, capacity_h, capacity_v, reach, scratch_h, scratch_v):
    """Routes as shares of the capacity, smoothed, into scratch."""
    scratch_h[:] = hor / capacity_h
    scratch_v[:] = ver / capacity_v
    smooth(scratch_h, scratch_v, reach)


@njit
def congestion_bound(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h, scratch_v, threshold):
    """Congestion cost, at least."""
    many = max(1, int(0.05 * 2 * hor.size))
    if reach > 0:
        spread(hor, ver, capacity_h, capacity_v, reach, scratch_h, scratch_v)
        total = excess(scratch_h, 1.0, block_h, threshold) + excess(scratch_v, 1.0, block_v, threshold)
    else:
        total = excess(hor, 1.0 / capacity_h, block_h, threshold) + excess(ver, 1.0 / capacity_v, block_v, threshold)
    return threshold + total / many


@njit
def congestion_tail(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h, scratch_v):
    """The threshold at which the congestion bound is exact."""
    if reach > 0:
        spread(hor, ver, capacity_h, capacity_v, reach, scratch_h, scratch_v)
    else:
        scratch_h[:] = hor / capacity_h
        scratch_v[:] = ver / capacity_v
    both = np.concatenate(((scratch_h + block_h).ravel(), (scratch_v + block_v).ravel()))
    return tail(both, max(1, int(0.05 * both.size)))


@njit
def scale_of(rng, small, large):
    """A length between two, uniform in its logarithm."""
    return small * (large / small) ** rng.random()


@njit
def snapped(rng, low, size, cell, span, others, at, sizes, unit, gap, margin):
    """The lower edge of a macro after one of its edges is put beside a border of cells, or against another macro.

    Two units beside the border, where no rounding takes it across; `gap` from the macro, `margin` from the canvas' end.
    """
    if rng.random() < 0.5:
        beside = 2 * unit * (2 * rng.integers(0, 2) - 1)
        if rng.random() < 0.5:
            return np.round(low / cell) * cell + beside
        return np.round((low + size) / cell) * cell - size + beside
    other = others[rng.integers(0, len(others))]
    if rng.random() < 0.5:
        return at[other] + sizes[other] / 2 + gap
    if rng.random() < 0.5:
        return at[other] - sizes[other] / 2 - gap - size
    return span - margin - size if rng.random() < 0.5 else margin


@njit
def propose_any(rng, chances, node, group, obstacles, mirrors, reach, x, y, orientation, width, height, net_ptr,
                net_of, ptr, pins, px, py, cell_w, cell_h, canvas_width, canvas_height, unit, gap, margin, nodes,
                new_x, new_y, new_o):  # fmt: skip
    """Draw a move of `node`, of a group (hard or soft macros), at any coordinates; the number of macros it moves."""
    u, kind = rng.random(), 0
    while kind < 4 and u >= chances[kind]:
        u -= chances[kind]
        kind += 1
    if kind in (MIRROR, SNAP) and not mirrors:
        kind = SHIFT
    nodes[0], new_x[0], new_y[0], new_o[0] = node, x[node], y[node], orientation[node]
    small = 0.02 * min(cell_w, cell_h)
    count = 1
    if kind == SWAP and len(group) > 1:
        other = node
        while other == node:
            other = group[rng.integers(0, len(group))]
        nodes[1], new_o[1] = other, orientation[other]
        new_x[0], new_y[0], new_x[1], new_y[1] = x[other], y[other], x[node], y[node]
        count = 2
    elif kind == MIRROR:
        new_o[0] = orientation[node] ^ (1 + rng.integers(0, 3))
    elif kind == SNAP:
        if rng.random() < 0.5:
            low = snapped(rng, x[node] - width[node] / 2, width[node], cell_w, canvas_width, obstacles, x, width,
                          unit, gap, margin)  # fmt: skip
            new_x[0] = low + width[node] / 2
        else:
            low = snapped(rng, y[node] - height[node] / 2, height[node], cell_h, canvas_height, obstacles, y, height,
                          unit, gap, margin)  # fmt: skip
            new_y[0] = low + height[node] / 2
    elif kind == JUMP and net_ptr[node + 1] > net_ptr[node]:  # near a node of one of its nets
        e = net_of[rng.integers(net_ptr[node], net_ptr[node + 1])]
        pin = pins[rng.integers(ptr[e], ptr[e + 1])]
        wide = scale_of(rng, small, max(reach, 2 * max(cell_w, cell_h)))
        new_x[0] = px[pin] + wide * rng.standard_normal()
        new_y[0] = py[pin] + wide * rng.standard_normal()
    else:
        wide = scale_of(rng, small, reach)
        way = rng.integers(0, 3)
        if way != 1:
            new_x[0] += wide * rng.standard_normal()
        if way != 0:
            new_y[0] += wide * rng.standard_normal()
    for k in range(count):
        rim = margin if mirrors else 0.0  # of hard macros
        half_w, half_h = width[nodes[k]] / 2 + rim, height[nodes[k]] / 2 + rim
        new_x[k] = min(max(new_x[k], half_w), canvas_width - half_w)
        new_y[k] = min(max(new_y[k], half_h), canvas_height - half_h)
    return count


@njit
def crosses(node, x, y, orientation, pin_ptr, pin_of, x_offset, y_offset, px, py, route_w, route_h, own_x, own_y):
    """Put a macro's pins where it stands, the old places into own_x, own_y; whether one of them changed its cell."""
    first, last = pin_ptr[node], pin_ptr[node + 1]
    own_x[0], own_y[0] = px[node], py[node]
    for j in range(first, last):
        own_x[1 + j - first], own_y[1 + j - first] = px[pin_of[j]], py[pin_of[j]]
    shift_pins(node, pin_ptr, pin_of, x, y, orientation, x_offset, y_offset, px, py)
    changed = np.floor(own_x[0] / route_w) != np.floor(px[node] / route_w) or (
        np.floor(own_y[0] / route_h) != np.floor(py[node] / route_h)
    )
    for j in range(first, last):
        if changed:
            return True
        v, i = pin_of[j], 1 + j - first
        changed = np.floor(own_x[i] / route_w) != np.floor(px[v] / route_w) or (
            np.floor(own_y[i] / route_h) != np.floor(py[v] / route_h)
        )
    return changed


@njit
def exchange(node, pin_ptr, pin_of, px, py, own_x, own_y):
    """Swap a macro's pin positions with those that were put aside."""
    px[node], own_x[0] = own_x[0], px[node]
    py[node], own_y[0] = own_y[0], py[node]
    for j in range(pin_ptr[node], pin_ptr[node + 1]):
        v, i = pin_of[j], 1 + j - pin_ptr[node]
        px[v], own_x[i] = own_x[i], px[v]
        py[v], own_y[i] = own_y[i], py[v]


class Schedule(NamedTuple):
    """Which moves are made."""

    share: float  # of them that move hard macros
    hard_chances: Array  # (5,) float64, of the kinds of moves
    soft_chances: Array
    soft: Array  # (k,) int64, nodes of the soft macros that move
    wander: float  # the longest usual step, microns
    every: int  # steps after which the thresholds of the bounds are renewed


@njit
def anneal_any(rng, tries, temperature, mobile_hard, schedule, terms, tables):
    """`tries` Metropolis steps at a temperature; a share of them moves hard macros. The number accepted."""
    share, hard_chances, soft_chances, mobile_soft, wander, every = schedule
    (weights, obstacles, canvas_width, canvas_height, gap, margin, divisor, capacity_h, capacity_v, reach,
     scratch_h, scratch_v, _) = terms  # fmt: skip
    (net_ptr, net_of, pin_ptr, pin_of, ptr, pins, weight, width, height, _, placed, x, y,
     orientation, x_offset, y_offset, px, py, length, hor, ver, block_h, block_v, grid, cells,
     seen, marks, touched, scalars, per_h, per_v, cell_w, cell_h, route_w, route_h, rim, unit) = tables  # fmt: skip
    nodes, new_x, new_y, new_o = np.zeros(2, np.int64), np.zeros(2), np.zeros(2), np.zeros(2, np.int8)
    old_x, old_y, old_o = np.zeros(2), np.zeros(2), np.zeros(2, np.int8)
    most = 2
    for i in range(len(pin_ptr) - 1):
        most = max(most, pin_ptr[i + 1] - pin_ptr[i] + 1)
    own_x, own_y, lengths = np.zeros((2, most)), np.zeros((2, most)), np.zeros(len(weight))
    none, kept_g = np.zeros_like(grid), grid.copy()
    kept_h, kept_v, kept_bh, kept_bv = hor.copy(), ver.copy(), block_h.copy(), block_v.copy()
    per_area = 1.0 / (cell_w * cell_h)
    dense = routed = td = tc = 0.0
    dense_on, routed_on = weights[1] > 0, weights[2] > 0
    accepted = 0
    for step in range(tries):
        if step % every == 0:
            if dense_on:
                td = tail(grid.ravel(), max(1, grid.size // 10))
                dense = density_bound(grid, none, td)
            if routed_on:
                tc = congestion_tail(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h, scratch_v)
                routed = congestion_bound(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h,
                                          scratch_v, tc)  # fmt: skip
            wire = scalars[0] / divisor
            cost = weights[0] * wire + weights[1] * dense + weights[2] * routed
        is_hard = len(mobile_soft) == 0 or (len(mobile_hard) > 0 and rng.random() < share)
        group = mobile_hard if is_hard else mobile_soft
        node = group[rng.integers(0, len(group))]
        count = propose_any(rng, hard_chances if is_hard else soft_chances, node, group, obstacles, is_hard, wander, x,
                            y, orientation, width, height, net_ptr, net_of, ptr, pins, px, py, cell_w, cell_h,
                            canvas_width, canvas_height, unit, gap, margin, nodes, new_x, new_y,
                            new_o)  # fmt: skip
        if is_hard:
            legal = apart(count, nodes, new_x, new_y, width, height, gap)
            for k in range(count):
                legal = legal and fits(nodes[k], new_x[k], new_y[k], obstacles, x, y, width, height, canvas_width,
                                       canvas_height, gap, margin, nodes, count)  # fmt: skip
            if not legal:
                continue
        limit = cost - temperature * np.log(1.0 - rng.random())  # the cost up to which the move is accepted
        scalars[2] += 1
        mark, many = int(scalars[2]), 0
        for k in range(count):
            i = nodes[k]
            for j in range(net_ptr[i], net_ptr[i + 1]):
                e = net_of[j]
                if marks[e] != mark:
                    marks[e] = mark
                    touched[many] = e
                    many += 1
        rerouted = False
        for k in range(count):
            i = nodes[k]
            old_x[k], old_y[k], old_o[k] = x[i], y[i], orientation[i]
            if dense_on:
                cover(x[i], y[i], width[i], height[i], cell_w, cell_h, -per_area, grid)
                cover(new_x[k], new_y[k], width[i], height[i], cell_w, cell_h, per_area, grid)
            if is_hard and routed_on:
                block_bound(x[i], y[i], width[i], height[i], route_w, route_h, per_h, per_v, unit, -1.0, block_h,
                            block_v)  # fmt: skip
                block_bound(new_x[k], new_y[k], width[i], height[i], route_w, route_h, per_h, per_v, unit, 1.0,
                            block_h, block_v)  # fmt: skip
            x[i], y[i], orientation[i] = new_x[k], new_y[k], new_o[k]
            rerouted |= crosses(i, x, y, orientation, pin_ptr, pin_of, x_offset, y_offset, px, py, route_w, route_h,
                                own_x[k], own_y[k])  # fmt: skip
        rerouted = rerouted and routed_on
        new_wire = scalars[0]
        for k in range(many):
            e = touched[k]
            lengths[k] = net_length(ptr[e], ptr[e + 1], pins, px, py)
            new_wire += weight[e] * (lengths[k] - length[e])
        new_dense = density_bound(grid, none, td) if dense_on else 0.0
        new, new_routed = weights[0] * new_wire / divisor + weights[1] * new_dense, routed
        if rerouted:
            for k in range(count):
                exchange(nodes[k], pin_ptr, pin_of, px, py, own_x[k], own_y[k])
            for k in range(many):
                e = touched[k]
                scalars[1] += 1
                route_net(ptr[e], ptr[e + 1], pins, -max(1.0, weight[e]), px, py, placed, route_w, route_h, rim, hor,
                          ver, cells, seen, int(scalars[1]))  # fmt: skip
            for k in range(count):
                exchange(nodes[k], pin_ptr, pin_of, px, py, own_x[k], own_y[k])
            # what the other nets cost alone: routes only add to it
            new_routed = congestion_bound(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h,
                                          scratch_v, tc)  # fmt: skip
            if new + weights[2] * new_routed <= limit:
                for k in range(many):
                    e = touched[k]
                    scalars[1] += 1
                    route_net(ptr[e], ptr[e + 1], pins, max(1.0, weight[e]), px, py, placed, route_w, route_h, rim,
                              hor, ver, cells, seen, int(scalars[1]))  # fmt: skip
                new_routed = congestion_bound(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h,
                                              scratch_v, tc)  # fmt: skip
        elif is_hard and routed_on:
            new_routed = congestion_bound(hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h,
                                          scratch_v, tc)  # fmt: skip
        new += weights[2] * new_routed
        if new <= limit:
            accepted += 1
            cost, routed, dense, scalars[0] = new, new_routed, new_dense, new_wire
            for k in range(many):
                length[touched[k]] = lengths[k]
            kept_g[:] = grid
            if rerouted:
                kept_h[:], kept_v[:] = hor, ver
            if is_hard:
                kept_bh[:], kept_bv[:] = block_h, block_v
        else:
            for k in range(count):
                i = nodes[k]
                x[i], y[i], orientation[i] = old_x[k], old_y[k], old_o[k]
                exchange(i, pin_ptr, pin_of, px, py, own_x[k], own_y[k])
            grid[:] = kept_g
            if rerouted:
                hor[:], ver[:] = kept_h, kept_v
            if is_hard:
                block_h[:], block_v[:] = kept_bh, kept_bv
    return accepted
