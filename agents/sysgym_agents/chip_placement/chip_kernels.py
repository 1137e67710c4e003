"""Numba kernels of placers of chips: annealing and descent on a grid with exact costs, and gradients."""

from __future__ import annotations

import numpy as np

from sysgym.chip_placement.geometry.legal_kernels import apart, fits
from sysgym.chip_placement.geometry.move_kernels import parts, put
from sysgym.compiled import njit

SWAP, SHIFT, MIRROR, MOVE, SHUFFLE = range(5)


@njit
def propose(rng, movable, chances, x, y, orientation, columns, rows, cell_w, cell_h, nodes, new_x, new_y, new_o):
    """Draw a move into nodes, new_x, new_y, new_o; the number of macros it moves."""
    u, kind = rng.random(), 0
    while kind < 4 and u >= chances[kind]:
        u -= chances[kind]
        kind += 1
    many = len(movable)
    first = movable[rng.integers(0, many)]
    count = 1
    nodes[0], new_x[0], new_y[0], new_o[0] = first, x[first], y[first], orientation[first]
    if kind in (SWAP, SHUFFLE):
        wanted = 2 if kind == SWAP else 4
        while count < min(wanted, many):
            other = movable[rng.integers(0, many)]
            known = False
            for k in range(count):
                known = known or nodes[k] == other
            if not known:
                nodes[count], new_o[count] = other, orientation[other]
                count += 1
        for k in range(count):  # a cycle of random members: each takes the place of the next
            other = nodes[(k + 1) % count]
            new_x[k], new_y[k] = x[other], y[other]
    elif kind == SHIFT:
        way = rng.integers(0, 4)
        new_x[0] += cell_w * ((way == 0) - (way == 1))
        new_y[0] += cell_h * ((way == 2) - (way == 3))
    elif kind == MIRROR:
        new_o[0] = orientation[first] ^ (1 + rng.integers(0, 3))  # of N, FN, S, FS: 1 mirrors x, 3 y, 2 both
    else:
        new_x[0] = (rng.integers(0, columns) + 0.5) * cell_w
        new_y[0] = (rng.integers(0, rows) + 0.5) * cell_h
    return count


@njit
def sweep(rng, tries, temperature, chances, movable, terms, tables):
    """`tries` Metropolis steps on the proxy; its value and the number of accepted moves."""
    (weights, obstacles, canvas_width, canvas_height, gap, margin, divisor, capacity_h, capacity_v, reach,
     scratch_h, scratch_v, both) = terms  # fmt: skip
    width, height, x, y = tables.width, tables.height, tables.x, tables.y
    orientation, hor, ver, block_h = tables.orientation, tables.hor, tables.ver, tables.block_h
    block_v, grid, scalars, cell_w = tables.block_v, tables.grid, tables.scalars, tables.cell_w
    cell_h = tables.cell_h
    nodes, new_o = np.zeros(4, np.int64), np.zeros(4, np.int8)
    new_x, new_y, old_x, old_y, old_o = np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4, np.int8)
    rows, columns = grid.shape
    wire, dense, routed = parts(scalars[0], divisor, grid, hor, ver, block_h, block_v, capacity_h, capacity_v, reach,
                                scratch_h, scratch_v, both)  # fmt: skip
    cost = weights[0] * wire + weights[1] * dense + weights[2] * routed
    accepted = 0
    for _ in range(tries):
        count = propose(rng, movable, chances, x, y, orientation, columns, rows, cell_w, cell_h, nodes, new_x, new_y,
                        new_o)  # fmt: skip
        legal = apart(count, nodes, new_x, new_y, width, height, gap)
        for k in range(count):
            legal = legal and fits(nodes[k], new_x[k], new_y[k], obstacles, x, y, width, height, canvas_width,
                                   canvas_height, gap, margin, nodes, count)  # fmt: skip
        if not legal:
            continue
        for k in range(count):
            i = nodes[k]
            old_x[k], old_y[k], old_o[k] = x[i], y[i], orientation[i]
        put(count, nodes, new_x, new_y, new_o, tables)
        wire, dense, routed = parts(scalars[0], divisor, grid, hor, ver, block_h, block_v, capacity_h, capacity_v,
                                    reach, scratch_h, scratch_v, both)  # fmt: skip
        new = weights[0] * wire + weights[1] * dense + weights[2] * routed
        if new <= cost or rng.random() < np.exp((cost - new) / temperature):
            cost = new
            accepted += 1
        else:
            put(count, nodes, old_x, old_y, old_o, tables)
    return cost, accepted


@njit
def best_place(node, far, most, terms, tables):
    """Put a macro on the cheapest legal place up to `far` cells away, in N, FN, S or FS; how many were judged.

    That is at most `most`. Places are those of the macro shifted by whole cells; the one where it stands wins ties.
    """
    (weights, obstacles, canvas_width, canvas_height, gap, margin, divisor, capacity_h, capacity_v, reach,
     scratch_h, scratch_v, both) = terms  # fmt: skip
    width, height, x, y = tables.width, tables.height, tables.x, tables.y
    orientation, hor, ver, block_h = tables.orientation, tables.hor, tables.ver, tables.block_h
    block_v, grid, scalars, cell_w = tables.block_v, tables.grid, tables.scalars, tables.cell_w
    cell_h = tables.cell_h
    nodes, at_x, at_y, facing = np.zeros(1, np.int64), np.zeros(1), np.zeros(1), np.zeros(1, np.int8)
    nodes[0] = node
    from_x, from_y, first = x[node], y[node], orientation[node]
    best, best_x, best_y, best_o = np.inf, from_x, from_y, first
    judged = 0
    for turn in range(-1, 4):
        for down in range(-far, far + 1):
            for across in range(-far + abs(down), far - abs(down) + 1):
                if judged == most or (turn < 0 and (down != 0 or across != 0)):
                    continue
                at_x[0], at_y[0] = from_x + across * cell_w, from_y + down * cell_h
                facing[0] = first if turn < 0 else first & 4 | turn  # a quarter turn stays
                if not fits(node, at_x[0], at_y[0], obstacles, x, y, width, height, canvas_width, canvas_height, gap,
                            margin, nodes, 1):  # fmt: skip
                    continue
                judged += 1
                put(1, nodes, at_x, at_y, facing, tables)
                wire, dense, routed = parts(scalars[0], divisor, grid, hor, ver, block_h, block_v, capacity_h,
                                            capacity_v, reach, scratch_h, scratch_v, both)  # fmt: skip
                cost = weights[0] * wire + weights[1] * dense + weights[2] * routed
                if cost < best - 1e-12:
                    best, best_x, best_y, best_o = cost, at_x[0], at_y[0], facing[0]
    at_x[0], at_y[0], facing[0] = best_x, best_y, best_o
    put(1, nodes, at_x, at_y, facing, tables)
    return judged


@njit
def wire_gradient(ptr, pins, weight, parent, px, py, sharp, gx, gy):
    """Add the gradient of the weighted-average wirelength (Hsu, Chang, Balabanov, 2011) to gx, gy of the pins' macros.

    `sharp` is one over the smoothing length, a micron.
    """
    most = 0
    for e in range(len(weight)):
        most = max(most, ptr[e + 1] - ptr[e])
    up, down = np.zeros(most), np.zeros(most)
    for e in range(len(weight)):
        first, last = ptr[e], ptr[e + 1]
        for axis in range(2):
            at, gradient = (px, gx) if axis == 0 else (py, gy)
            low = high = at[pins[first]]
            for j in range(first + 1, last):
                low, high = min(low, at[pins[j]]), max(high, at[pins[j]])
            if high <= low:
                continue
            plus = minus = mean_plus = mean_minus = 0.0
            for j in range(first, last):
                p = at[pins[j]]
                a, b = np.exp((p - high) * sharp), np.exp((low - p) * sharp)
                up[j - first], down[j - first] = a, b
                plus, minus, mean_plus, mean_minus = plus + a, minus + b, mean_plus + a * p, mean_minus + b * p
            mean_plus, mean_minus = mean_plus / plus, mean_minus / minus
            for j in range(first, last):
                p = at[pins[j]]
                gradient[parent[pins[j]]] += weight[e] * (
                    up[j - first] / plus * (1 + (p - mean_plus) * sharp)
                    - down[j - first] / minus * (1 - (p - mean_minus) * sharp)
                )


@njit
def field_force(nodes, x, y, width, height, cell_w, cell_h, field_x, field_y, fx, fy):
    """Add the field over the area of each macro, in cells, to fx, fy."""
    rows, columns = field_x.shape
    per_area = 1.0 / (cell_w * cell_h)
    for i in nodes:
        left, right, low, high = x[i] - width[i] / 2, x[i] + width[i] / 2, y[i] - height[i] / 2, y[i] + height[i] / 2
        for r in range(max(int(low / cell_h), 0), min(int(high / cell_h), rows - 1) + 1):
            tall = min(high, (r + 1) * cell_h) - max(low, r * cell_h)
            for c in range(max(int(left / cell_w), 0), min(int(right / cell_w), columns - 1) + 1):
                wide = min(right, (c + 1) * cell_w) - max(left, c * cell_w)
                if wide > 0 and tall > 0:
                    fx[i] += wide * tall * per_area * field_x[r, c]
                    fy[i] += wide * tall * per_area * field_y[r, c]
