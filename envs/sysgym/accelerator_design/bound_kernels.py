"""What a design that is not complete will need at least: area and power never fall where a parameter grows."""

from __future__ import annotations

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.space import (
    BANDWIDTH,
    CHANNEL,
    CLOCK,
    DRAM_AREA,
    DRAM_PJ,
    GDDR6_PJ,
    GM,
    L1CFG,
    L1I,
    L1O,
    L1W,
    L2CFG,
    SA_X,
    SA_Y,
)
from sysgym.accelerator_design.space import CH as CHANNELS
from sysgym.compiled import njit

LARGEST = 1024.0  # KiB of a buffer


@njit
def least_power(need):
    """The least power of two, 1 at least, that is no smaller."""
    found = 1.0
    while found < need:
        found *= 2
    return found


@njit
def lightest(values, known, shared, machine):
    """Fill `machine` (20,) with the least that completes the known `values` (16,) with L1 private or shared.

    False where nothing does: a buffer would have to be larger than there are.
    """
    for i in range(16):
        machine[i] = values[i] if known[i] else (0.0 if i in (L2CFG, GM) else 1.0)
    machine[L1CFG] = 1.0 if shared else 0.0
    machine[CLOCK], machine[BANDWIDTH] = 1.0, CHANNEL * machine[CHANNELS]
    machine[DRAM_PJ], machine[DRAM_AREA] = GDDR6_PJ, 6 * machine[CHANNELS]
    sx, sy = machine[SA_X], machine[SA_Y]
    if not shared:
        for i, need in ((L1I, 4 * sx / 1024), (L1W, 2 * sx * sy / 1024), (L1O, 8 * sy / 1024)):
            least = least_power(need)
            if least > LARGEST or (known[i] and values[i] < least):
                return False
            if not known[i]:
                machine[i] = least
        return True
    need = (2 * sx * sy + 4 * sx + 8 * sy) / 1024
    best, a = np.inf, 1.0
    while a <= LARGEST:
        i = values[L1I] if known[L1I] else a
        b = 1.0
        while b <= LARGEST:
            w = values[L1W] if known[L1W] else b
            o = values[L1O] if known[L1O] else least_power(need - i - w)
            if o <= LARGEST and i + w + o >= need and i + w + o < best:
                best = i + w + o
                machine[L1I], machine[L1W], machine[L1O] = i, w, o
            if known[L1W]:
                break
            b *= 2
        if known[L1I]:
            break
        a *= 2
    return best < np.inf


@njit
def needed(values, known, area_limit, power_limit):
    """Area and power that a design needs at least, of the L1 that keeps it within both limits if one does; and whether
    one does.
    """
    machine = np.empty(20)
    area, power, fits = np.inf, np.inf, False
    for shared in (False, True):
        if known[L1CFG] and (values[L1CFG] == 1) != shared:
            continue
        if not lightest(values, known, shared, machine):
            continue
        a, p = area_and_power(machine)
        within = a <= area_limit and p <= power_limit
        if (within and not fits) or (within == fits and p < power):
            area, power, fits = a, p, within
    return area, power, fits


@njit
def possible(table, counts, design, position, area_limit, power_limit, found):
    """Which values of a parameter leave a feasible design possible, into `found` (count,) bool; how many."""
    values, known = np.zeros(16), np.zeros(16, np.bool_)
    for i in range(16):
        if design[i] >= 0:
            values[i], known[i] = table[i, design[i]], True
    known[position] = True
    count = 0
    for choice in range(counts[position]):
        values[position] = table[position, choice]
        found[choice] = needed(values, known, area_limit, power_limit)[2]
        count += found[choice]
    return count


@njit
def repair(table, counts, designs, orders, area_limit, power_limit):
    """Change designs (n, 16) that the limits do not allow, in place: in the order of a row of `orders` (n, 16), each
    parameter keeps its value if that leaves something possible, else it takes the nearest one that does.
    """
    values, known = np.zeros(16), np.zeros(16, np.bool_)
    for d in range(len(designs)):
        known[:] = False
        for position in orders[d]:
            known[position], kept, away = True, designs[d, position], 0
            while away < 2 * counts[position]:
                choice = kept + (away + 1) // 2 * (1 if away % 2 else -1)
                if 0 <= choice < counts[position]:
                    values[position] = table[position, choice]
                    if needed(values, known, area_limit, power_limit)[2]:
                        designs[d, position] = choice
                        break
                away += 1
