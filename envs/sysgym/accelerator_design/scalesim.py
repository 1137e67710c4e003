"""SCALE-Sim's cycles of a layer on one systolic array, in closed form: a check of how we count, and its topologies.

Samajdar et al. (2018, 2020); equal to `Total Cycles` without stalls of SCALE-Sim 3.0.0 for WS and OS.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.workloads.builder import MOST, Builder
from sysgym.core.data import read_text
from sysgym.core.errors import UsageError, printable, shortened, unknown

DATAFLOWS = ("ws", "os", "is")
COLUMNS = ("name", "IFMAP height", "IFMAP width", "filter height", "filter width", "channels", "filters", "stride")


def output_size(size: int, kernel: int, stride: int) -> int:
    """Rows or columns that SCALE-Sim makes of an input, which has its padding already: it rounds up."""
    return -(-(size - kernel + stride) // stride)


def cycles(dataflow: str, rows: int, columns: int, pixels: int, filters: int, depth: int) -> int:
    """Cycles without stalls of a product of `pixels` x `depth` by `depth` x `filters` on an array of rows x columns.

    `dataflow` is "ws", "os" or "is": weights, outputs or inputs stay in the array.
    """
    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    down, across, streamed = {
        "ws": (depth, filters, rows + pixels), "os": (pixels, filters, depth), "is": (depth, pixels, rows + filters),
    }[dataflow]  # fmt: skip
    return -(-down // rows) * -(-across // columns) * (rows + columns + streamed - 2) - 1


def read_topology(path: str | Path) -> Workloads:
    """A workload from a SCALE-Sim topology in its convolution format; each layer has an input of its own.

    A layer of one channel and one filter is a depthwise channel for SCALE-Sim; here it is a small convolution.
    UsageError names a wrong line.
    """
    try:
        rows = list(csv.reader(io.StringIO(read_text(path))))
    except csv.Error as error:
        raise UsageError(f"{path} is no table of layers ({error}).") from error
    if rows and len(rows[0]) > 1 and rows[0][1].strip().isdecimal():
        raise UsageError(f"{path} line 1: expected a header, {', '.join(COLUMNS)}, got a layer.")
    net = Builder(Path(path).stem)
    for number, row in enumerate(rows[1:], 2):
        words = [word.strip() for word in row]
        while words and not words[-1]:  # lines end with a comma
            words.pop()
        if not words:
            continue
        try:
            if len(words) != len(COLUMNS):
                raise ValueError
            high, wide, r, s, channels, filters, stride = (int(word) for word in words[1:])
        except ValueError:
            raise UsageError(
                f"{path} line {number}: expected {', '.join(COLUMNS)}, got {shortened(','.join(row), 80)!r}."
            ) from None
        if min(high, wide, r, s, channels, filters, stride) < 1 or r > high or s > wide:
            raise UsageError(f"{path} line {number}: sizes must be positive and a filter no larger than its input.")
        if max(high, wide, r, s, channels, filters, stride) > MOST:
            raise UsageError(f"{path} line {number}: no size may be larger than {MOST:.3g}.")
        net.valid_conv(printable(words[0], ""), net.input(high, wide, channels), filters, (r, s), stride)
    if not net.rows:
        raise UsageError(f"{path} holds no layer; expected a header and lines of {', '.join(COLUMNS)}.")
    return net.finish()
