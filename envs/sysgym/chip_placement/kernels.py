"""Numba kernels of the proxy cost: wirelength, density, congestion. Rules: TILOS-AI-Institute/MacroPlacement."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
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


@njit
def pin_positions(parent, x, y, orientation, x_offset, y_offset, px, py):
    """Positions of all nodes: centres, and for pins the centre of their macro plus the turned offset."""
    for i in range(len(parent)):
        a, b = turned(x_offset[i], y_offset[i], orientation[i])
        px[i], py[i] = x[parent[i]] + a, y[parent[i]] + b


@njit
def net_length(first, last, pins, px, py):
    """Half the perimeter of the bounding box of pins[first:last]."""
    left = right = px[pins[first]]
    low = high = py[pins[first]]
    for j in range(first + 1, last):
        v = pins[j]
        left, right = min(left, px[v]), max(right, px[v])
        low, high = min(low, py[v]), max(high, py[v])
    return (right - left) + (high - low)


@njit
def net_lengths(ptr, pins, px, py, out):
    """Half perimeters of all nets, (m,) float64."""
    for e in range(len(out)):
        out[e] = net_length(ptr[e], ptr[e + 1], pins, px, py)


@njit
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


@njit
def density_map(macros, x, y, width, height, placed, cell_w, cell_h, grid):
    """Share of each cell that macros cover; overlaps count twice."""
    grid[:] = 0.0
    for i in macros:
        if placed[i]:
            cover(x[i], y[i], width[i], height[i], cell_w, cell_h, 1.0 / (cell_w * cell_h), grid)


@njit
def _across(table, row, a, b, w):
    for c in range(min(a, b), max(a, b)):
        table[row, c] += w


@njit
def _along(table, column, a, b, w):
    for r in range(min(a, b), max(a, b)):
        table[r, column] += w


@njit
def _route_two(hor, ver, source_c, source_r, sink_c, sink_r, w):
    """An L: across on the row of the source, up or down on the column of the sink."""
    _across(hor, source_r, source_c, sink_c, w)
    _along(ver, sink_c, source_r, sink_r, w)


@njit
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


@njit(inline="never")
def border_cell(x, y, cell_w, cell_h, columns, rows, rim):
    """The cell at the border for a place at most `rim` outside the grid, -1 if it is farther out."""
    if x < -rim or y < -rim or x > columns * cell_w + rim or y > rows * cell_h + rim:
        return -1
    c, r = int(np.floor(x / cell_w)), int(np.floor(y / cell_h))
    return min(max(r, 0), rows - 1) * columns + min(max(c, 0), columns - 1)


@njit
def route_net(first, last, pins, weight, px, py, placed, cell_w, cell_h, rim, hor, ver, cells, seen, stamp):
    """Book the route of pins[first:last]; a net with an unplaced pin or one outside the canvas is not routed.

    A pin at most `rim` microns outside counts in the cell at the border. `cells`, `seen` (cells,) int64 are scratch,
    `stamp` a number that `seen` does not hold yet.
    """
    rows, columns = hor.shape
    count = 0
    for j in range(first, last):
        v = pins[j]
        c, r = int(np.floor(px[v] / cell_w)), int(np.floor(py[v] / cell_h))
        if not placed[v]:
            return
        cell = r * columns + c
        if c < 0 or c >= columns or r < 0 or r >= rows:
            cell = border_cell(px[v], py[v], cell_w, cell_h, columns, rows, rim)
            if cell < 0:
                return
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


@njit
def route_nets(ptr, pins, weight, px, py, placed, cell_w, cell_h, rim, hor, ver):
    """Book every net's route on the cells."""
    seen, cells = np.full(hor.size, -1, np.int64), np.zeros(hor.size, np.int64)
    for e in range(len(weight)):
        route_net(ptr[e], ptr[e + 1], pins, max(1.0, weight[e]), px, py, placed, cell_w, cell_h, rim, hor, ver,
                  cells, seen, e)  # fmt: skip


@njit
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


@njit
def block_window(x, y, width, height, cell_w, cell_h, per_h, per_v, rows, columns, row, column, hor, ver):
    """As `block_macro`, on a window of the cells of a grid of rows x columns that begins at (row, column)."""
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
            ver[r - row, c - column] += wide * per_v
            hor[r - row, c - column] += tall * per_h
    # a row or column that the edge merely touches holds nothing to take away
    if partial_rows and min(high, (r1 + 1) * cell_h) > max(low, r1 * cell_h):
        for c in range(c0, c1 + 1):
            ver[r1 - row, c - column] -= max(min(right, (c + 1) * cell_w) - max(left, c * cell_w), 0.0) * per_v
    if partial_columns and min(right, (c1 + 1) * cell_w) > max(left, c1 * cell_w):
        for r in range(r0, r1 + 1):
            hor[r - row, c1 - column] -= max(min(high, (r + 1) * cell_h) - max(low, r * cell_h), 0.0) * per_h


@njit
def block_macro(x, y, width, height, cell_w, cell_h, per_h, per_v, hor, ver):
    """Add `per_h` (`per_v`) times the height (width) of a hard macro in each cell; see the rule of partial cells.

    Where the bottom or top row is covered in part only, the vertical share of the top row is taken away again; where
    the left or right column is, the horizontal share of the right column.
    """
    rows, columns = hor.shape
    block_window(x, y, width, height, cell_w, cell_h, per_h, per_v, rows, columns, 0, 0, hor, ver)


@njit
def near_line(at, size, cell, unit):
    """Whether an edge of a macro is at most `unit` from a line of the grid."""
    low, high = (at - size / 2) / cell, (at + size / 2) / cell
    far = unit / cell * (1 + 1e-6) + 1e-12  # a distance of a unit may be a rounding more
    return abs(low - np.round(low)) <= far or abs(high - np.round(high)) <= far


@njit
def block_bound(x, y, width, height, cell_w, cell_h, per_h, per_v, unit, sign, hor, ver):
    """Add `sign` times the most that a hard macro blocks in each cell wherever it stands within `unit` of its place.

    With an edge at most `unit` from a line of the grid that is the largest value of each cell over its place and those
    nudged by `unit` across such lines (at most nine places in all); otherwise what it blocks where it stands.
    """
    near_x, near_y = near_line(x, width, cell_w, unit), near_line(y, height, cell_h, unit)
    if not near_x and not near_y:
        block_macro(x, y, width, height, cell_w, cell_h, sign * per_h, sign * per_v, hor, ver)
        return
    rows, columns = hor.shape
    left, right = x - width / 2 - unit, x + width / 2 + unit
    low, high = y - height / 2 - unit, y + height / 2 + unit
    c0, c1 = max(int(np.floor(left / cell_w)), 0), min(int(np.floor(right / cell_w)), columns - 1)
    r0, r1 = max(int(np.floor(low / cell_h)), 0), min(int(np.floor(high / cell_h)), rows - 1)
    if c1 < c0 or r1 < r0:
        return
    shape = (r1 - r0 + 1, c1 - c0 + 1)
    most_h, most_v, one_h, one_v = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for across in range(-1 if near_x else 0, 2 if near_x else 1):
        for up in range(-1 if near_y else 0, 2 if near_y else 1):
            one_h[:], one_v[:] = 0.0, 0.0
            block_window(x + across * unit, y + up * unit, width, height, cell_w, cell_h, per_h, per_v, rows, columns,
                         r0, c0, one_h, one_v)  # fmt: skip
            for r in range(shape[0]):
                for c in range(shape[1]):
                    most_h[r, c] = max(most_h[r, c], one_h[r, c])
                    most_v[r, c] = max(most_v[r, c], one_v[r, c])
    for r in range(shape[0]):
        for c in range(shape[1]):
            hor[r0 + r, c0 + c] += sign * most_h[r, c]
            ver[r0 + r, c0 + c] += sign * most_v[r, c]


@njit
def block_macros(hard, x, y, width, height, placed, cell_w, cell_h, per_h, per_v, hor, ver):
    """What all placed hard macros block where they stand."""
    for i in hard:
        if placed[i]:
            block_macro(x[i], y[i], width[i], height[i], cell_w, cell_h, per_h, per_v, hor, ver)


@njit
def block_bounds(hard, x, y, width, height, placed, cell_w, cell_h, per_h, per_v, unit, hor, ver):
    """The most that all placed hard macros block within `unit` of their places."""
    for i in hard:
        if placed[i]:
            block_bound(x[i], y[i], width[i], height[i], cell_w, cell_h, per_h, per_v, unit, 1.0, hor, ver)


@njit
def any_near(hard, x, y, width, height, placed, cell_w, cell_h, unit):
    """Whether an edge of a placed hard macro is at most `unit` from a line of the grid."""
    for i in hard:
        if placed[i] and (near_line(x[i], width[i], cell_w, unit) or near_line(y[i], height[i], cell_h, unit)):
            return True
    return False


@njit
def mean_of_largest(values, count):
    """Mean of the `count` largest numbers of a vector."""
    return np.partition(values, len(values) - count)[len(values) - count :].mean()
