"""The sixteen parameters of a datapath, and machines: what the simulator needs to know of one.

From FAST (Zhang et al., ASPLOS 2022), table of the search space, as recalled: 4.8e13 datapaths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sysgym.core.errors import InvalidSolution, shortened, unknown
from sysgym.core.problem import Array


def _powers(low: int, high: int) -> tuple[int, ...]:
    return tuple(2**i for i in range(low.bit_length() - 1, high.bit_length()))


SPACE: dict[str, tuple[int, ...]] = {
    "pe_x": _powers(1, 256), "pe_y": _powers(1, 256),  # processing elements
    "sa_x": _powers(1, 256), "sa_y": _powers(1, 256),  # rows (reduction) and columns (outputs) of each systolic array
    "vm": _powers(1, 16),  # lanes of the vector unit a column
    "l1cfg": (0, 1),  # private or shared
    "l1i": _powers(1, 1024), "l1w": _powers(1, 1024), "l1o": _powers(1, 1024),  # KiB: inputs, weights, outputs
    "l2cfg": (0, 1, 2),  # disabled, private, shared
    "l2i": _powers(1, 128), "l2w": _powers(1, 128), "l2o": _powers(1, 128),  # multiples of L1
    "gm": (0, *_powers(1, 256)),  # MiB of global memory
    "ch": _powers(1, 8),  # channels of GDDR6
    "batch": _powers(1, 256),
}  # fmt: skip
NAMES = tuple(SPACE)
WORDS = {"l1cfg": ("private", "shared"), "l2cfg": ("disabled", "private", "shared")}
COUNTS = np.array([len(values) for values in SPACE.values()], np.int64)
TABLE = np.array([[*values, *[0] * (11 - len(values))] for values in SPACE.values()], np.int64)  # (16, 11)
CHANNEL = 56.0  # GB/s of a channel
(PE_X, PE_Y, SA_X, SA_Y, VM, L1CFG, L1I, L1W, L1O, L2CFG, L2I, L2W, L2O, GM, CH, BATCH, CLOCK, BANDWIDTH, DRAM_PJ,
 DRAM_AREA) = range(20)  # columns of a machine  # fmt: skip
GDDR6_PJ, HBM_PJ = 51.9, 43.75  # mW a GB/s
TPU_V3 = np.array([2, 2, 128, 128, 8, 0, 256, 128, 512, 0, 1, 1, 1, 32, 0, 256, 0.94, 900.0, HBM_PJ, 40.0])


def machines(design: Array) -> Array:
    """Machines (n, 20) float64 from table indices (n, 16): 1 GHz, GDDR6."""
    values = TABLE[np.arange(len(NAMES)), np.asarray(design, np.int64)].astype(np.float64)
    channels = values[:, CH : CH + 1]
    rest = [np.ones_like(channels), CHANNEL * channels, np.full_like(channels, GDDR6_PJ), 6 * channels]
    return np.concatenate([values, *rest], axis=1)


def named(design: Sequence[int] | Array) -> dict[str, int]:
    """The values of a design by name, from its table indices (16,)."""
    return {name: SPACE[name][int(index)] for name, index in zip(NAMES, design, strict=True)}


def indices(values: Mapping[str, Any]) -> Array:
    """Table indices (16,) int64 of named values, words such as "private" too; InvalidSolution names a wrong one."""
    found = []
    for name in values:
        if name not in SPACE:
            raise InvalidSolution(str(unknown("parameter", str(name), NAMES)))
    for name, known in SPACE.items():
        if name not in values:
            raise InvalidSolution(f"the design lacks {name!r}; it has {len(NAMES)} parameters: {', '.join(NAMES)}.")
        value = values[name]
        words = WORDS.get(name, ())
        if isinstance(value, str) and value in words:
            value = words.index(value)
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer) or value not in known:
            listed = ", ".join([*map(str, known), *map(repr, words)])
            raise InvalidSolution(f"{name} of a design must be one of {listed}, got {shortened(repr(value), 60)}.")
        found.append(known.index(int(value)))
    return np.array(found, np.int64)
