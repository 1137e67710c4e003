"""Numba kernels of the proxy cost: wirelength, density, congestion. Rules: TILOS-AI-Institute/MacroPlacement."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def turned(a, b, facing):
    """An offset in orientation N as it stands in another one, by its index in ORIENTATIONS."""
    if facing == 1:
        return -a, b
    if facing == 2:
        return -a, -b
    if facing == 3:
        return a, -b
    if facing == 4:
        return b, -a
    if facing == 5:
        return -b, -a
    if facing == 6:
        return -b, a
    if facing == 7:
        return b, a
    return a, b


@njit(cache=True)
def pin_positions(parent, x, y, orientation, x_offset, y_offset, px, py):
    """Positions of all nodes: centres, and for pins the centre of their macro plus the turned offset."""
    for i in range(len(parent)):
        a, b = turned(x_offset[i], y_offset[i], orientation[i])
        px[i], py[i] = x[parent[i]] + a, y[parent[i]] + b


@njit(cache=True)
def net_length(first, last, pins, px, py):
    """Half the perimeter of the bounding box of pins[first:last]."""
    left = right = px[pins[first]]
    low = high = py[pins[first]]
    for j in range(first + 1, last):
        v = pins[j]
        left, right = min(left, px[v]), max(right, px[v])
        low, high = min(low, py[v]), max(high, py[v])
    return (right - left) + (high - low)


@njit(cache=True)
def net_lengths(ptr, pins, px, py, out):
    """Half perimeters of all nets, (m,) float64."""
    for e in range(len(out)):
        out[e] = net_length(ptr[e], ptr[e + 1], pins, px, py)


@njit(cache=True)
def cover(x, y, width, height, cell_w, cell_h, per_area, grid):
    """Add `per_area` times the area of a macro in each cell of grid (rows, columns); what is outside is dropped."""
    rows, columns = grid.shape
    left, right, low, high = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    c0, c1 = max(int(np.floor(left / cell_w)), 0), min(int(np.floor(right / cell_w)), columns - 1)
    r0, r1 = max(int(np.floor(low / cell_h)), 0), min(int(np.floor(high / cell_h)), rows - 1)
    for r in range(r0, r1 + 1):
        tall = min(high, (r + 1) * cell_h) - max(low, r * cell_h)
        if tall <= 0:
            continue
        for c in range(c0, c1 + 1):
            wide = min(right, (c + 1) * cell_w) - max(left, c * cell_w)
            if wide > 0:
                grid[r, c] += wide * tall * per_area


@njit(cache=True)
def density_map(macros, x, y, width, height, placed, cell_w, cell_h, grid):
    """Share of each cell that macros cover; overlaps count twice."""
    grid[:] = 0.0
    for i in macros:
        if placed[i]:
            cover(x[i], y[i], width[i], height[i], cell_w, cell_h, 1.0 / (cell_w * cell_h), grid)


@njit(cache=True)
def _across(table, row, a, b, w):
    for c in range(min(a, b), max(a, b)):
        table[row, c] += w


@njit(cache=True)
def _along(table, column, a, b, w):
    for r in range(min(a, b), max(a, b)):
        table[r, column] += w


@njit(cache=True)
def _route_two(hor, ver, source_c, source_r, sink_c, sink_r, w):
    """An L: across on the row of the source, up or down on the column of the sink."""
    _across(hor, source_r, source_c, sink_c, w)
    _along(ver, sink_c, source_r, sink_r, w)


@njit(cache=True)
def _route_three(hor, ver, x1, y1, x2, y2, x3, y3, w):
    """Three cells (column, row), sorted by column, then row."""
    if x1 < x2 < x3 and min(y1, y3) < y2 < max(y1, y3):
        _across(hor, y1, x1, x2, w)
        _across(hor, y2, x2, x3, w)
        _along(ver, x2, y1, y2, w)
        _along(ver, x3, y2, y3, w)
    elif x2 == x3 and x1 < x2 and y1 < min(y2, y3):
        _across(hor, y1, x1, x2, w)
        _along(ver, x2, y1, max(y2, y3), w)
    elif y2 == y3:
        _across(hor, y1, x1, x2, w)
        _across(hor, y2, x2, x3, w)
        _along(ver, x2, y1, y2, w)
    else:
        left, right = min(x1, x2, x3), max(x1, x2, x3)
        # a T: by row, then column
        if (y2, x2) < (y1, x1):
            x1, y1, x2, y2 = x2, y2, x1, y1
        if (y3, x3) < (y2, x2):
            x2, y2, x3, y3 = x3, y3, x2, y2
        if (y2, x2) < (y1, x1):
            x1, y1, x2, y2 = x2, y2, x1, y1
        _across(hor, y2, left, right, w)
        _along(ver, x1, y1, y2, w)
        _along(ver, x3, y2, y3, w)


@njit(cache=True)
def route_net(first, last, pins, weight, px, py, placed, cell_w, cell_h, hor, ver, cells, seen, stamp):
    """Book the route of pins[first:last]; a net with an unplaced pin or one outside the canvas is not routed.

    `cells`, `seen` (cells,) int64 are scratch, `stamp` a number that `seen` does not hold yet.
    """
    rows, columns = hor.shape
    count = 0
    for j in range(first, last):
        v = pins[j]
        c, r = int(np.floor(px[v] / cell_w)), int(np.floor(py[v] / cell_h))
        if not placed[v] or c < 0 or c >= columns or r < 0 or r >= rows:
            return
        cell = r * columns + c
        if seen[cell] != stamp:
            seen[cell] = stamp
            cells[count] = cell
            count += 1
    if count < 2:
        return
    if count == 3:
        a, b, d = cells[0] % columns * rows, cells[1] % columns * rows, cells[2] % columns * rows
        a, b, d = a + cells[0] // columns, b + cells[1] // columns, d + cells[2] // columns
        low, high = min(a, b, d), max(a, b, d)
        mid = a + b + d - low - high
        _route_three(hor, ver, low // rows, low % rows, mid // rows, mid % rows, high // rows, high % rows, weight)
        return
    source = cells[0]
    for cell in cells[1:count]:
        _route_two(hor, ver, source % columns, source // columns, cell % columns, cell // columns, weight)


@njit(cache=True)
def route_nets(ptr, pins, weight, px, py, placed, cell_w, cell_h, hor, ver):
    """Book every net's route on the cells."""
    seen, cells = np.full(hor.size, -1, np.int64), np.zeros(hor.size, np.int64)
    for e in range(len(weight)):
        route_net(ptr[e], ptr[e + 1], pins, max(1.0, weight[e]), px, py, placed, cell_w, cell_h, hor, ver, cells,
                  seen, e)  # fmt: skip


@njit(cache=True)
def smooth(hor, ver, reach):
    """Spread vertical routes evenly over columns within reach, horizontal ones over rows; all stays inside."""
    rows, columns = hor.shape
    new_h, new_v = np.zeros_like(hor), np.zeros_like(ver)
    for r in range(rows):
        for c in range(columns):
            first, last = max(c - reach, 0), min(c + reach, columns - 1)
            for k in range(first, last + 1):
                new_v[r, k] += ver[r, c] / (last - first + 1)
            first, last = max(r - reach, 0), min(r + reach, rows - 1)
            for k in range(first, last + 1):
                new_h[k, c] += hor[r, c] / (last - first + 1)
    hor[:], ver[:] = new_h, new_v


@njit(cache=True)
def block_macro(x, y, width, height, cell_w, cell_h, per_h, per_v, hor, ver):
    """Add `per_h` (`per_v`) times the height (width) of a hard macro in each cell; see the rule of partial cells.

    Where the bottom or top row is covered in part only, the vertical share of the top row is taken away again; where
    the left or right column is, the horizontal share of the right column.
    """
    rows, columns = hor.shape
    left, right, low, high = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    c0, c1 = int(np.floor(left / cell_w)), int(np.floor(right / cell_w))
    r0, r1 = int(np.floor(low / cell_h)), int(np.floor(high / cell_h))
    if c1 < 0 or r1 < 0 or c0 >= columns or r0 >= rows:
        return
    c0, c1, r0, r1 = max(c0, 0), min(c1, columns - 1), max(r0, 0), min(r1, rows - 1)
    partial_rows = partial_columns = False
    for r in range(r0, r1 + 1):
        tall = min(high, (r + 1) * cell_h) - max(low, r * cell_h)
        for c in range(c0, c1 + 1):
            wide = min(right, (c + 1) * cell_w) - max(left, c * cell_w)
            if wide <= 0 or tall <= 0:
                continue
            if r1 != r0 and r in (r0, r1) and abs(tall - cell_h) > 1e-5:
                partial_rows = True
            if c1 != c0 and c in (c0, c1) and abs(wide - cell_w) > 1e-5:
                partial_columns = True
            ver[r, c] += wide * per_v
            hor[r, c] += tall * per_h
    if partial_rows:
        for c in range(c0, c1 + 1):
            ver[r1, c] -= max(min(right, (c + 1) * cell_w) - max(left, c * cell_w), 0.0) * per_v
    if partial_columns:
        for r in range(r0, r1 + 1):
            hor[r, c1] -= max(min(high, (r + 1) * cell_h) - max(low, r * cell_h), 0.0) * per_h


@njit(cache=True)
def block_macros(hard, x, y, width, height, placed, cell_w, cell_h, per_h, per_v, hor, ver):
    """What all placed hard macros block."""
    for i in hard:
        if placed[i]:
            block_macro(x[i], y[i], width[i], height[i], cell_w, cell_h, per_h, per_v, hor, ver)


@njit(cache=True)
def mean_of_largest(values, count):
    """Mean of the `count` largest numbers of a vector."""
    return np.partition(values, len(values) - count)[len(values) - count :].mean()


TOUCH = 1e-6  # microns by which macros may overlap or stick out: rounding, not area


@njit(cache=True)
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


@njit(cache=True)
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


@njit(cache=True)
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


# ---------------------------------------------------------------- one move at a time
# `table` holds the state of a complete placement: see `sysgym.chip.moves.Moves`.


@njit(cache=True)
def shift_pins(node, pin_ptr, pin_of, x, y, orientation, x_offset, y_offset, px, py):
    """Recompute the positions of a macro's pins."""
    px[node], py[node] = x[node], y[node]
    for j in range(pin_ptr[node], pin_ptr[node + 1]):
        v = pin_of[j]
        a, b = turned(x_offset[v], y_offset[v], orientation[node])
        px[v], py[v] = x[node] + a, y[node] + b


@njit(cache=True)
def put_macros(count, nodes, new_x, new_y, new_o, net_ptr, net_of, pin_ptr, pin_of, ptr, pins, weight, width, height,
               hard, placed, x, y, orientation, x_offset, y_offset, px, py, length, hor, ver, block_h, block_v, grid,
               cells, seen, marks, touched, scalars, per_h, per_v, cell_w, cell_h):  # fmt: skip
    """Move macros nodes[:count] and keep wirelength, routes, blocked routes and density up to date.

    scalars (3,) float64: wirelength, the last stamp of `seen`, the last stamp of `marks`.
    """
    per_area = 1.0 / (cell_w * cell_h)
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
    for k in range(many):
        e = touched[k]
        scalars[0] -= weight[e] * length[e]
        scalars[1] += 1
        route_net(ptr[e], ptr[e + 1], pins, -max(1.0, weight[e]), px, py, placed, cell_w, cell_h, hor, ver, cells,
                  seen, int(scalars[1]))  # fmt: skip
    for k in range(count):
        i = nodes[k]
        cover(x[i], y[i], width[i], height[i], cell_w, cell_h, -per_area, grid)
        if hard[i]:
            block_macro(x[i], y[i], width[i], height[i], cell_w, cell_h, -per_h, -per_v, block_h, block_v)
        x[i], y[i], orientation[i] = new_x[k], new_y[k], new_o[k]
        cover(x[i], y[i], width[i], height[i], cell_w, cell_h, per_area, grid)
        if hard[i]:
            block_macro(x[i], y[i], width[i], height[i], cell_w, cell_h, per_h, per_v, block_h, block_v)
        shift_pins(i, pin_ptr, pin_of, x, y, orientation, x_offset, y_offset, px, py)
    for k in range(many):
        e = touched[k]
        length[e] = net_length(ptr[e], ptr[e + 1], pins, px, py)
        scalars[0] += weight[e] * length[e]
        scalars[1] += 1
        route_net(ptr[e], ptr[e + 1], pins, max(1.0, weight[e]), px, py, placed, cell_w, cell_h, hor, ver, cells,
                  seen, int(scalars[1]))  # fmt: skip


@njit(cache=True)
def parts(wire, divisor, grid, hor, ver, block_h, block_v, capacity_h, capacity_v, reach, scratch_h, scratch_v, both):
    """Wirelength cost, density cost and congestion cost from the maps; `both` (2 * cells,) is scratch."""
    size = grid.size
    density = 0.5 * mean_of_largest(grid.ravel(), max(1, size // 10))
    scratch_h[:] = hor / capacity_h
    scratch_v[:] = ver / capacity_v
    if reach > 0:
        smooth(scratch_h, scratch_v, reach)
    for r in range(hor.shape[0]):
        for c in range(hor.shape[1]):
            at = r * hor.shape[1] + c
            both[at] = scratch_v[r, c] + block_v[r, c]
            both[size + at] = scratch_h[r, c] + block_h[r, c]
    return wire / divisor, density, mean_of_largest(both, max(1, int(0.05 * 2 * size)))
