"""What a file can tell apart: places of six significant digits, or of whole database units where a DEF names them.

Circuit Training and TILOS write six significant digits; a verdict must not depend on the digits beyond.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sysgym.chip_placement.formats.lefdef.source import rounded
from sysgym.chip_placement.geometry.macros import sizes_of

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.netlist import Netlist
    from sysgym.chip_placement.formats.plc import Canvas, Placement
    from sysgym.core.problem import Array

DIGITS = 6


def six_digits(values: Array) -> Array:
    """`float(f"{v:.6g}")` of every number, to the last bit; float64 of the same shape.

    >>> six_digits([1234.5678, 0.1234567, -2e-7]).tolist()
    [1234.57, 0.123457, -2e-07]
    """
    values = np.asarray(values, np.float64)
    size = np.abs(values)
    plain = (size >= 1e-9) & (size < 1e9)
    places = DIGITS - 1 - np.floor(np.log10(np.where(plain, size, 1.0))).astype(np.int64)  # decimals that are kept
    more, less = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)  # exact, as is each quotient's rounding
    scaled = values * more / less
    whole = np.rint(scaled)
    found: Array = whole * less / more
    # by text where the product's own rounding may decide, or the logarithm's
    rim = np.abs(np.abs(scaled - whole) - 0.5) < 1e-6
    rim |= (np.abs(scaled) < 10 ** (DIGITS - 1) + 1) | (np.abs(scaled) > 10**DIGITS - 1)
    for at in np.flatnonzero(rim | ~plain):
        found.flat[at] = float(f"{values.flat[at]:.{DIGITS}g}")
    return found


def on_unit(canvas: Canvas, values: Array) -> Array:
    """Coordinates on whole units of a canvas (`Canvas.unit`), which six digits, float32 and decimals all keep."""
    if canvas.database is not None:
        return np.asarray(values, np.float64)  # their corners are rounded when they are judged
    per = 10.0 ** max(-round(np.log10(canvas.unit)), 0)  # exact, as is the rounding of a quotient by it
    many = 10.0 ** max(round(np.log10(canvas.unit)), 0)
    found: Array = np.rint(np.asarray(values) * per / many) * many / per
    return found


def on_units(netlist: Netlist, canvas: Canvas, placement: Placement, nodes: Array) -> Placement:
    """The placement with some macros on whole units, and their pins with them: their centres, or their corners.

    In a DEF it is the lower left corners that are on steps of the manufacturing grid.
    """
    x, y = placement.x.copy(), placement.y.copy()
    if canvas.database is None:
        x[nodes], y[nodes] = on_unit(canvas, x[nodes]), on_unit(canvas, y[nodes])
    else:
        half = np.stack(sizes_of(netlist, nodes, placement.orientation[nodes])) / 2
        moved = np.array([canvas.origin]).T - half
        corner = (np.stack([x[nodes], y[nodes]]) + moved) * canvas.database
        x[nodes], y[nodes] = rounded(corner, canvas.step) / canvas.database - moved
    return replace(placement, x=x[netlist.parent], y=y[netlist.parent])


def canonical(netlist: Netlist, canvas: Canvas, placement: Placement, square_soft: bool = True) -> Placement:
    """The placement as files hold it: movable macros' centres by `six_digits`; all else stays.

    On a canvas with database units, their lower left corners on whole units instead.
    """
    macros = netlist.macros
    at = placement.x[macros], placement.y[macros], placement.orientation[macros]
    found = canonical_macros(netlist, canvas, placement.fixed, at, square_soft)
    x, y = placement.x.copy(), placement.y.copy()
    x[macros], y[macros] = found
    return replace(placement, x=x[netlist.parent], y=y[netlist.parent])


def canonical_macros(
    netlist: Netlist, canvas: Canvas, fixed: Array, at: tuple[Array, Array, Array], square_soft: bool
) -> tuple[Array, Array]:
    """As `canonical`, from the centres and orientations of all macros, (m,) each; `fixed` is of all nodes."""
    macros, (x, y, orientation) = netlist.macros, at
    if canvas.database is None:
        found = np.stack([six_digits(x), six_digits(y)])
    else:
        half = np.stack(sizes_of(netlist, macros, orientation, square_soft)) / 2
        corner = (np.stack([x, y]) - half + np.array([canvas.origin]).T) * canvas.database
        found = rounded(corner) / canvas.database - np.array([canvas.origin]).T + half
    still = fixed[macros]
    return np.where(still, x, found[0]), np.where(still, y, found[1])
