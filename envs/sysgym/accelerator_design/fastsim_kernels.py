"""The model `fastsim` v1: area, power, and the time of every region of a workload on a machine, without fusion.

A machine is a row of `sysgym.accelerator_design.space`; a workload comes as `Arrays`. Times are nanoseconds, sizes
bytes (two an element, bf16). Ours, after FAST (Zhang et al. 2022) and its sources; it is not that paper's simulator.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sysgym.accelerator_design.instance import BMM, CONV, DWCONV, LSTM, MATMUL, SOFTMAX, VECTOR, Workloads
from sysgym.accelerator_design.space import (
    BANDWIDTH,
    BATCH,
    CLOCK,
    DRAM_AREA,
    DRAM_PJ,
    GM,
    L1CFG,
    L1I,
    L1O,
    L1W,
    L2CFG,
    L2I,
    L2O,
    L2W,
    PE_X,
    PE_Y,
    SA_X,
    SA_Y,
    VM,
)
from sysgym.compiled import njit
from sysgym.core.problem import Array

SUPPLY = 2048.0  # bytes a cycle between global memory and processing elements
DEPTHWISE_OPS = 6  # vector operations a multiply-add of a depthwise convolution
MIB, KIB = 2.0**20, 1024.0
BLOCKING = 0.25  # the share of global memory that blocks may take where something stays in it


class Arrays(NamedTuple):
    """A workload, as the kernels take it."""

    kind: Any
    shape: Any
    weights: Any
    vec_ops: Any
    macs: Any
    in_ptr: Any
    in_tensor: Any
    out: Any
    elems: Any
    same: Any  # (R,) int64, the first region of its network that takes the same time


class Times(NamedTuple):
    """What is known of each region of a workload on a machine, all (R,) float64."""

    compute: Any  # nanoseconds
    whole: Any  # bytes moved to and from DRAM where all of the global memory is for blocks
    bytes: Any  # the same where a share `BLOCKING` of it is; then the inputs are read as often as
    first: Any  # ... the first one, and
    weights: Any  # ... the weights, or the stationary input


def arrays_of(workloads: Workloads) -> Arrays:
    """The arrays of a workload."""
    return Arrays(workloads.kind, workloads.shape, workloads.weights, workloads.vec_ops, workloads.macs,
                  workloads.in_ptr, workloads.in_tensor, workloads.out, workloads.elems, alike(workloads))  # fmt: skip


def alike(workloads: Workloads) -> Array:
    """The first region of the same network that takes the same time whatever the machine, (R,) int64."""
    seen: dict[Any, int] = {}
    found = []
    for i in range(len(workloads.kind)):
        reads = workloads.elems[workloads.in_tensor[workloads.in_ptr[i] : workloads.in_ptr[i + 1]]]
        kind, network = int(workloads.kind[i]), int(workloads.network[i])
        sizes = (int(workloads.weights[i]), int(workloads.vec_ops[i]), int(workloads.elems[workloads.out[i]]))
        key = (network, kind, *sizes, *workloads.shape[i].tolist(), *reads.tolist())
        found.append(seen.setdefault(key, i))
    return np.array(found, np.int64)


@njit
def sram_pj(kib):
    """Picojoules a byte of a memory of so many KiB."""
    return 0.20 + 0.045 * np.sqrt(min(kib, 1024.0))


@njit
def area_and_power(machine):
    """mm2 at 7 nm, and TDP in W."""
    n, sx, sy, f = machine[PE_X] * machine[PE_Y], machine[SA_X], machine[SA_Y], machine[CLOCK]
    lanes = n * sy * machine[VM]
    shared = machine[L1CFG] == 1
    l1 = machine[L1I] + machine[L1W] + machine[L1O]
    l2 = 0.0
    if machine[L2CFG] > 0:
        l2 = machine[L1I] * machine[L2I] + machine[L1W] * machine[L2W] + machine[L1O] * machine[L2O]
    sram = n * (0.05 + (l1 + l2) / 1024 * (1.1 if shared else 1.0))
    area = 1.5 * (5.5e-4 * n * sx * sy + 3e-3 * lanes + sram + 0.55 * machine[GM] + machine[DRAM_AREA] + 40)
    ei, ew, eo = sram_pj(machine[L1I]), sram_pj(machine[L1W]), sram_pj(machine[L1O])
    if shared:
        ei = ew = eo = 1.1 * sram_pj(l1)
    power = 0.74e-3 * n * sx * sy * f + 3e-3 * lanes * f + 1e-3 * n * f * (2 * sx * ei + sy * ew + 8 * sy * eo)
    if machine[L2CFG] > 0:
        e2 = sram_pj(l2) if machine[L2CFG] == 1 else sram_pj(l2 * n) + 0.3
        power += 1e-3 * n * f * 0.25 * (2 * sx + 6 * sy) * e2
    if machine[GM] > 0:
        power += SUPPLY * f * 2.5e-3
    power += 0.03 * n * f + machine[BANDWIDTH] * 1e-3 * machine[DRAM_PJ] + 0.04 * area + 15
    return area, power


@njit
def stream_tile(machine):
    """Rows of input for each load of weights, and whether the next load hides behind them; below 1: no such machine."""
    sx, sy = machine[SA_X], machine[SA_Y]
    if machine[L1CFG] == 0:
        l1i, l1w, l1o = machine[L1I] * KIB, machine[L1W] * KIB, machine[L1O] * KIB
        if l1w < 2 * sx * sy:
            return 0.0, False
        return np.floor(min(l1i / (4 * sx), l1o / (8 * sy))), l1w >= 4 * sx * sy
    whole = (machine[L1I] + machine[L1W] + machine[L1O]) * KIB
    rest, double = whole - 4 * sx * sy, True
    if rest < 4 * sx + 8 * sy:
        rest, double = whole - 2 * sx * sy, False
    return np.floor(rest / (4 * sx + 8 * sy)), double


@njit
def capacities(machine):
    """Bytes of L1 and L2 for inputs and for weights: c1i, c1w, c2i, c2w."""
    sx, sy, n = machine[SA_X], machine[SA_Y], machine[PE_X] * machine[PE_Y]
    c1i, c1w, c2i, c2w = machine[L1I] * KIB, machine[L1W] * KIB, 0.0, 0.0
    if machine[L2CFG] > 0:
        c2i, c2w = machine[L1I] * KIB * machine[L2I], machine[L1W] * KIB * machine[L2W]
        if machine[L2CFG] == 2:
            c2i, c2w = c2i * n, c2w * n
    if machine[L1CFG] == 1:
        pool = max((machine[L1I] + machine[L1W] + machine[L1O]) * KIB - 4 * sx * sy, 0.0)
        c1i, c1w = pool / 2, pool / 4
    return c1i, c1w, c2i, c2w


@njit
def ceil_of(a, b):
    """a / b rounded up, of whole numbers in floats."""
    return np.ceil(a / b)


@njit
def tiled(rows, tile):
    """How many tiles of at most `tile` rows, and how many rows each has."""
    count = ceil_of(rows, tile)
    return count, ceil_of(rows, count)


@njit
def fold(rows, sx, double):
    """Cycles of a pass of `rows` rows over the array, its weights loaded meanwhile or before."""
    return max(rows, sx) if double else rows + sx


@njit
def dense_cycles(dims, schedule, machine, tile, double, am, ak, ci, cw, sizes):
    """Cycles of a convolution or matrix product that is split over am x ak elements, its groups one after the other;
    `sizes` In, W, Out in bytes.
    """
    groups, c, k, r, s = dims[0], dims[5], dims[6], dims[7], dims[8]
    sx, sy = machine[SA_X], machine[SA_Y]
    kp = ceil_of(k, ak)
    fr = r * s * ceil_of(c, sx)
    if schedule >= 1 or c < 8:
        fr = min(fr, ceil_of(r * s * c, sx))
    fk = ceil_of(kp, sy)
    depth = 2 * c * dims[9] * dims[9]
    rows = ceil_of(machine[BATCH] * dims[3] * dims[4], am)
    fw = 2 * kp * r * s * c <= cw
    small = np.floor(min(tile, ci / (2 * depth)))
    best = np.inf
    for option in range(2):
        if option == 1 and not 1 <= small < tile:
            break
        nt, m = tiled(rows, tile if option == 0 else small)
        cycles = groups * nt * fr * fk * fold(m, sx, double) + sx + sy
        if machine[GM] > 0:
            fin = 2 * m * depth <= ci
            moved = sizes[0] * (1.0 if fin else fk) + sizes[1] * (1.0 if fw else nt) + sizes[2]
            cycles = max(cycles, moved / SUPPLY)
        best = min(best, cycles)
    return best


@njit
def batched_cycles(dims, machine, tile, double, am, ak, ci, cw, sizes):
    """Cycles of a batched product of two activations."""
    c, k, sx, sy = dims[5], dims[6], machine[SA_X], machine[SA_Y]
    groups = ceil_of(dims[0] * machine[BATCH], ak)
    fk = ceil_of(k, sy)
    nt, m = tiled(ceil_of(dims[3] * dims[4], am), tile)
    cycles = groups * nt * ceil_of(c, sx) * fk * fold(m, sx, double) + sx + sy
    if machine[GM] > 0:
        fin, fw = 2 * m * 2 * c <= ci, 2 * k * c <= cw
        moved = sizes[0] * (1.0 if fin else fk) + sizes[1] * (1.0 if fw else nt) + sizes[2]
        cycles = max(cycles, moved / SUPPLY)
    return cycles


@njit
def recurrent_cycles(dims, machine, am, ak, cw, sizes):
    """Cycles of the recurrent half of an LSTM layer."""
    c, k, steps, sx, sy = dims[5], dims[6], dims[10], machine[SA_X], machine[SA_Y]
    rows, fr, fk = ceil_of(machine[BATCH], am), ceil_of(c, sx), ceil_of(ceil_of(k, ak), sy)
    held = fr * fk <= 1
    cycles = steps * (fr * fk * (rows if held else max(rows, sx)) + sx + sy)
    if machine[GM] > 0:
        once = held or 2 * ceil_of(k, ak) * c <= cw
        cycles = max(cycles, (sizes[0] + sizes[2] + sizes[1] * (1.0 if once else steps)) / SUPPLY)
    return cycles


@njit
def depthwise_cycles(dims, ops, schedule, machine, tile, double, am, ak, sizes):
    """Cycles of a depthwise convolution: one channel on the diagonal, on the vector unit, or as a Toeplitz matrix."""
    g, p, q, r, s, stride = dims[0], dims[3], dims[4], dims[7], dims[8], dims[9]
    sx, sy, batch = machine[SA_X], machine[SA_Y], machine[BATCH]
    channels = ceil_of(g, ak)
    nt, m = tiled(ceil_of(batch * p * q, am), tile)
    best = nt * r * s * ceil_of(channels, min(sx, sy)) * fold(m, sx, double) + sx + sy
    lanes = machine[PE_X] * machine[PE_Y] * sy * machine[VM]
    best = min(best, (DEPTHWISE_OPS * g * p * q * r * s + ops) * batch / lanes)
    if schedule >= 2:
        wide = 1.0
        while wide <= min(q, sy):
            nt, m = tiled(ceil_of(batch * p * ceil_of(q, wide), am), tile)
            span = (wide - 1) * stride + s
            for option in range(2):
                rows, passes = (r * span, 1.0) if option == 0 else (span, r * 1.0)
                if rows <= sx:
                    packed = min(np.floor(sx / rows), np.floor(sy / wide))
                    best = min(best, nt * passes * ceil_of(channels, packed) * fold(m, sx, double) + sx + sy)
            wide += 1.0 if wide < 16 else 4.0
    if machine[GM] > 0:
        best = max(best, (sizes[0] + sizes[1] + sizes[2]) / SUPPLY)
    return best


@njit
def traffic(in0, weights, groups, block_i, block_w):
    """How often the first input and the weights are read from DRAM, by blocks of so many bytes: nk, nm."""
    nk = max(1.0, np.ceil(2 * weights / groups / block_w))
    nm = max(1.0, np.ceil(2 * in0 / groups / block_i))
    if in0 * nk + weights <= in0 + weights * nm:
        return nk, 1.0
    return 1.0, nm


@njit
def time_regions(work, machine, schedule, first, last, times):
    """Fill `times` for the regions first..last of a workload; False where the machine cannot work at all."""
    tile, double = stream_tile(machine)
    if tile < 1:
        return False
    c1i, c1w, c2i, c2w = capacities(machine)
    ci, cw = max(c1i + c2i, 1.0), max(c1w + c2w, 1.0)
    px, py, batch = machine[PE_X], machine[PE_Y], machine[BATCH]
    n = px * py
    lanes = n * machine[SA_Y] * machine[VM]
    one_l2 = machine[L2CFG] == 2
    spare = 0.5 * machine[GM] * MIB
    dims, sizes = np.empty(11), np.empty(3)
    for i in range(first, last):
        known = work.same[i]
        if known < i:
            times.compute[i], times.whole[i], times.bytes[i] = (
                times.compute[known],
                times.whole[known],
                times.bytes[known],
            )
            times.first[i], times.weights[i] = times.first[known], times.weights[known]
            continue
        for j in range(11):
            dims[j] = work.shape[i, j]
        kind, begin = work.kind[i], work.in_ptr[i]
        in0 = 2 * batch * work.elems[work.in_tensor[begin]]
        rest = 0.0
        for j in range(begin + 1, work.in_ptr[i + 1]):
            rest += 2 * batch * work.elems[work.in_tensor[j]]
        out = 2 * batch * work.elems[work.out[i]]
        weights = 2.0 * work.weights[i]
        vector = work.vec_ops[i] * batch / lanes
        if kind in (VECTOR, SOFTMAX):
            often = 1.0 if kind == VECTOR else (3.0 if schedule == 0 else 2.0)
            moved = often * (in0 + rest) + out
            compute = moved / SUPPLY if machine[GM] > 0 else 0.0
            times.compute[i] = max(compute, vector) / machine[CLOCK]
            times.whole[i], times.bytes[i], times.first[i], times.weights[i] = moved, moved, often, 1.0
            continue
        if kind == BMM:
            weights, rest = rest, 0.0
        sizes[0], sizes[1], sizes[2] = in0 + rest, weights, out
        best, wm, wk = np.inf, 1.0, 1.0
        for option in range(4):
            if schedule == 0 and option != 1:
                continue
            am, ak = (n, 1.0) if option == 0 else (px, py) if option == 1 else (py, px) if option == 2 else (1.0, n)
            if kind in (CONV, MATMUL):
                cycles = dense_cycles(dims, schedule, machine, tile, double, am, ak, ci, cw, sizes)
            elif kind == BMM:
                cycles = batched_cycles(dims, machine, tile, double, am, ak, ci, cw, sizes)
            elif kind == LSTM:
                cycles = recurrent_cycles(dims, machine, am, ak, cw, sizes)
            else:
                cycles = depthwise_cycles(dims, work.vec_ops[i], schedule, machine, tile, double, am, ak, sizes)
            if cycles < best:
                best, wm, wk = cycles, am, ak
        times.compute[i] = max(best, vector) / machine[CLOCK]
        block_i = wm * c1i + (c2i if one_l2 else wm * c2i)
        block_w = wk * c1w + (c2w if one_l2 else wk * c2w)
        groups = dims[0] * batch if kind == BMM else dims[0]
        nk = nm = 1.0
        if kind != DWCONV:
            nk, nm = traffic(in0, weights, groups, max(block_i + spare, 1.0), max(block_w + spare, 1.0))
        times.whole[i] = in0 * nk + weights * nm + rest + out
        if kind != DWCONV:
            share = BLOCKING * spare
            nk, nm = traffic(in0, weights, groups, max(block_i + share, 1.0), max(block_w + share, 1.0))
        times.bytes[i] = in0 * nk + weights * nm + rest + out
        times.first[i], times.weights[i] = nk, nm
    return True


@njit
def unfused(machine, first, last, times):
    """Nanoseconds of a batch without fusion."""
    total = 0.0
    for i in range(first, last):
        total += max(times.compute[i], times.whole[i] / machine[BANDWIDTH])
    return total
