"""What a surrogate learns from: the time of every region where what stays in memory is chosen greedily."""

from __future__ import annotations

import numpy as np

from sysgym.accelerator_design.fastsim_kernels import area_and_power, capacities, stream_tile, time_regions, unfused
from sysgym.accelerator_design.fusion_kernels import fuse
from sysgym.accelerator_design.space import BANDWIDTH, GM
from sysgym.compiled import njit


@njit
def region_times(work, consumers, span, machines, schedule, fusion, times, room, total, regions):
    """Nanoseconds of a batch of the network `span` = (first, last) on machines (n, 20) that can work, into `total`
    (n,), and of each of its regions, into `regions` (n, last - first).

    Where two orders of greedy choices differ, the regions' times are those of the second: they may sum to some more.
    """
    first, last = span
    for d in range(len(machines)):
        machine = machines[d]
        time_regions(work, machine, schedule, first, last, times)
        total[d] = unfused(machine, first, last, times)
        for i in range(first, last):
            regions[d, i - first] = max(times.compute[i], times.whole[i] / machine[BANDWIDTH])
        if fusion and machine[GM] > 0:
            fused = fuse(work, consumers, machine, times, first, last, room)[0]
            if fused < total[d]:
                total[d] = fused
                for i in range(first, last):
                    regions[d, i - first] = times.compute[i] + max(room.left[i], 0.0)


@njit
def sizes(machines, found):
    """Logarithms (base 2) of the tile, whether loads are hidden, of the memory for inputs and weights of an element,
    of area and power, into `found` (n, 6).
    """
    for d in range(len(machines)):
        tile, double = stream_tile(machines[d])
        c1i, c1w, c2i, c2w = capacities(machines[d])
        area, power = area_and_power(machines[d])
        found[d, 0], found[d, 1] = np.log2(max(tile, 1.0)), 1.0 if double else 0.0
        found[d, 2], found[d, 3] = np.log2(c1i + c2i + 1), np.log2(c1w + c2w + 1)
        found[d, 4], found[d, 5] = np.log2(area), np.log2(power)
