"""The annealer's loop, compiled: propose a move, draw a limit, simulate until it is exceeded, accept or take back.

A cost is accepted exactly if it is at most now * (1 + heat * Exp(1)), which is the rule of Metropolis with its random
number drawn first. Only accepted decisions that are the best so far, or all of them where memory is scarce, are
simulated with memory, by the shipped simulator.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array
from sysgym.dataflow.simulator import kernels
from sysgym.dataflow.simulator.lean_kernels import BORROWING, makespan, retail, tails

STEPS, IMPROVED, COST, OVER, BEST_COST, BEST_OVER, SCARCE, CHANGED = range(8)  # entries of a state, (8,) int64
SCARCE_FROM = 0.9  # of a memory: peaks beyond make every acceptance a check
BOUND = np.int64(2**29)  # of priorities
TOP = 2**20 - 1  # priority of the critical path
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
EVEN = 0.2  # share of the draws that ignore weights


class Parts(NamedTuple):
    """Units of one to three scales, numbered through."""

    begin: Array  # (S + 1,) int64 first unit of each scale
    member_ptr: Array  # (U + 1,) int64
    member: Array  # (S * N,) int32 operators of each unit, ascending
    link_ptr: Array  # (U + 1,) int64
    link: Array  # (M,) int64 neighbours of each unit


class Layers(NamedTuple):
    """Operators by layer and phase."""

    label: Array  # (N,) int64 3 * layer + phase
    ptr: Array  # (3 L + 1,) int64
    member: Array  # (N,) int32


class Decision(NamedTuple):
    """What is decided now, what follows from it, and the best decision."""

    place: Array  # (N,) int8
    rank: Array  # (N,) int64 priorities, negative; (1,) if first come, first served
    load: Array  # (D,) int64
    tail: Array  # (N,) int64
    best_place: Array
    best_rank: Array


class Log(NamedTuple):
    """What a move has changed."""

    moved: Array  # (N,) int32
    was: Array  # (N,) int64 place, or rank
    dirty: Array  # (N,) bool, False
    node: Array  # (N,) int32
    tail: Array  # (N,) int64


class Full(NamedTuple):
    """What the shipped simulator takes besides."""

    in_tensor: Array
    tensor_src: Array
    param_bytes: Array
    times: Array  # (D, N) int64
    capacity: Array  # (D,) int64
    place: Array  # (N,) int32 scratch, as all below
    start: Array
    finish: Array
    peak: Array
    busy: Array
    moves: Array
    spans: Array


class Table(NamedTuple):
    """Weights of relocations, stretches and layers, (3, U, D) for units of all scales, as one row."""

    given: Array  # (3 * U * D,) float64, not negative; (0,) if there are none
    left: Array  # the same, 0 for what was refused since the decision changed
    total: Array  # running sums of what is left
    last: Array  # (1,) int64 entry that the last move was drawn by, -1 if by none


class Plan(NamedTuple):
    """How to search until the kernel returns."""

    hot: float
    cold: float
    share: float  # of the time that is used
    limit: int  # steps in all
    quota: int  # operators to simulate
    patience: int  # steps without a better decision after which the best is taken up again
    placing: bool  # whether places are decided
    fifo: bool  # whether there are no priorities
    shifting: bool  # whether priorities are decided
    bounded: bool  # whether hopeless simulations stop early
    until: int  # step from which on the kernel returns as soon as the decision has changed since the step `made`
    made: int


@njit(**BORROWING)
def _uniform(random):
    """A number from 0 to 1, 1 left out; splitmix64 on random (1,) uint64."""
    random[0] += GOLDEN
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * (1.0 / 2**53)


@njit(**BORROWING)
def _below(random, count):
    """A whole number from 0 to count - 1."""
    return int(_uniform(random) * count)


@njit(**BORROWING)
def _put(v, device, place, load, times, row, moved, was, count):
    """Operator v goes to a device; the length of the log then."""
    here = place[v]
    if here == device:
        return count
    moved[count], was[count] = v, here
    load[here] -= times[row[here], v]
    load[device] += times[row[device], v]
    place[v] = device
    return count + 1


@njit(**BORROWING)
def _device(unit, parts, place, devices, random):
    """Another device than the unit's: often a neighbour's, else any."""
    here = place[parts.member[parts.member_ptr[unit]]]
    begin, end = parts.link_ptr[unit], parts.link_ptr[unit + 1]
    if end > begin and _uniform(random) < 0.5:
        there = place[parts.member[parts.member_ptr[parts.link[begin + _below(random, end - begin)]]]]
        if there != here:
            return np.int64(there)
    return (here + 1 + _below(random, devices - 1)) % devices


@njit(**BORROWING)
def _weighted(table, random):
    """An entry of the table, drawn by what is left of its weights; -1 if nothing is."""
    total = table.total
    low, high = 0, len(total) - 1
    wanted = _uniform(random) * total[high]
    while low < high:
        middle = (low + high) // 2
        if total[middle] > wanted:
            high = middle
        else:
            low = middle + 1
    return low if table.left[low] > 0 else -1


@njit(**BORROWING)
def _add_up(table, first):
    """Bring the running sums from an entry on up to date."""
    running = table.total[first - 1] if first > 0 else 0.0
    for i in range(first, len(table.left)):
        running += table.left[i]
        table.total[i] = running


@njit(**BORROWING)
def _refuse(table):
    """The entry that the last move was drawn by is not drawn again until the decision has changed."""
    if table.last[0] >= 0:
        table.left[table.last[0]] = 0.0
        _add_up(table, table.last[0])


@njit(**BORROWING)
def _restore(table):
    """The decision has changed: all weights count again."""
    for i in range(len(table.given)):
        table.left[i] = table.given[i]
    _add_up(table, 0)


@njit(**BORROWING)
def _swap(unit, other, parts, machines, decision, log):
    """Two units change places; how many operators moved."""
    place, load, times, row = decision.place, decision.load, machines.times, machines.row
    member_ptr, member, moved, was, count = parts.member_ptr, parts.member, log.moved, log.was, 0
    first, second = np.int64(place[member[member_ptr[unit]]]), np.int64(place[member[member_ptr[other]]])
    if first == second:
        return 0
    for i in range(member_ptr[unit], member_ptr[unit + 1]):
        count = _put(member[i], second, place, load, times, row, moved, was, count)
    for i in range(member_ptr[other], member_ptr[other + 1]):
        count = _put(member[i], first, place, load, times, row, moved, was, count)
    return count


@njit(**BORROWING)
def _send(kind, unit, device, parts, layers, machines, decision, log, random):
    """A unit goes to a device: 0 alone, 1 with linked units of its layer, 3 with its layer; how many moved."""
    place, load, times, row = decision.place, decision.load, machines.times, machines.row
    member_ptr, member, moved, was, count = parts.member_ptr, parts.member, log.moved, log.was, 0
    label = layers.label[member[member_ptr[unit]]]
    if kind == 3:
        layer = label - label % 3
        begin, end = layer, layer + 3
        if _uniform(random) < 0.5:
            begin, end = label, label + 1
        for i in range(layers.ptr[begin], layers.ptr[end]):
            count = _put(layers.member[i], device, place, load, times, row, moved, was, count)
        return count
    for i in range(member_ptr[unit], member_ptr[unit + 1]):
        count = _put(member[i], device, place, load, times, row, moved, was, count)
    if kind == 1:
        for j in range(parts.link_ptr[unit], parts.link_ptr[unit + 1]):
            near = parts.link[j]
            if layers.label[member[member_ptr[near]]] // 3 == label // 3 and _uniform(random) < 0.7:
                for i in range(member_ptr[near], member_ptr[near + 1]):
                    count = _put(member[i], device, place, load, times, row, moved, was, count)
    return count


@njit(**BORROWING)
def _replace(kind, fine, parts, layers, machines, decision, log, table, random):
    """Move 0 relocate, 1 stretch, 2 swap or 3 layer, all but swaps by weights where there are; how many moved."""
    devices = len(decision.load)
    table.last[0] = -1
    if kind != 2 and len(table.given) > 0 and _uniform(random) >= EVEN:
        table.last[0] = _weighted(table, random)
        if table.last[0] >= 0:
            row, pair = divmod(table.last[0], len(table.given) // 3)
            unit, device = pair // devices, np.int64(pair % devices)
            return _send(3 if row == 2 else row, unit, device, parts, layers, machines, decision, log, random)
    low, units = parts.begin[fine], parts.begin[fine + 1] - parts.begin[fine]
    unit = low + _below(random, units)
    if kind == 2:
        return _swap(unit, low + _below(random, units), parts, machines, decision, log)
    if devices == 1:
        return 0
    device = _device(unit, parts, decision.place, devices, random)
    return _send(kind, unit, device, parts, layers, machines, decision, log, random)


@njit(**BORROWING)
def _shift(fine, parts, decision, log, random):
    """A unit is scheduled earlier or later; how many operators changed their rank."""
    unit = parts.begin[fine] + _below(random, parts.begin[fine + 1] - parts.begin[fine])
    normal = np.sqrt(-2.0 * np.log(1.0 - _uniform(random))) * np.cos(2.0 * np.pi * _uniform(random))
    by, count, rank = np.int64(0.1 * normal * TOP), 0, decision.rank
    for i in range(parts.member_ptr[unit], parts.member_ptr[unit + 1]):
        v = parts.member[i]
        log.moved[count], log.was[count] = v, rank[v]
        rank[v] = min(max(rank[v] - by, -BOUND), BOUND)
        count += 1
    return count


@njit(**BORROWING)
def _take_back(shifted, count, logged, decision, machines, log):
    """Undo a move."""
    for i in range(count - 1, -1, -1):
        v = log.moved[i]
        if shifted:
            decision.rank[v] = log.was[i]
        else:
            here, before = decision.place[v], log.was[i]
            decision.load[here] -= machines.times[machines.row[here], v]
            decision.load[before] += machines.times[machines.row[before], v]
            decision.place[v] = before
    for i in range(logged):
        decision.tail[log.node[i]] = log.tail[i]


@njit
def judge(net, full, machines, decision, fifo, state):
    """The makespan of the decision, and by how many bytes devices exceed their memories, by the shipped simulator."""
    full.place[:] = decision.place
    cost = kernels.run(
        net.in_ptr, full.in_tensor, net.out_ptr, net.use_ptr, net.use_node, full.tensor_src, net.tensor_bytes,
        full.param_bytes, full.times, full.place, decision.rank, fifo, machines.bandwidth, machines.latency,
        machines.mode, True, full.start, full.finish, full.peak, full.busy, full.moves, full.spans,
    )[0]  # fmt: skip
    over = np.int64(0)
    for d in range(len(full.peak)):
        over += max(np.int64(0), full.peak[d] - full.capacity[d])
        if full.peak[d] > SCARCE_FROM * full.capacity[d]:
            state[SCARCE] = 1
    return cost, over


@njit(**BORROWING)
def settle(net, machines, decision):
    """Loads and tails of the present places."""
    for d in range(len(decision.load)):
        decision.load[d] = 0
    for v in range(len(decision.place)):
        d = decision.place[v]
        decision.load[d] += machines.times[machines.row[d], v]
    tails(net, machines, decision.place, decision.tail)


@njit
def _return_to_best(net, machines, decision, state):
    decision.place[:] = decision.best_place
    decision.rank[:] = decision.best_rank
    state[COST], state[OVER], state[IMPROVED] = state[BEST_COST], state[BEST_OVER], state[STEPS]
    state[CHANGED] = state[STEPS]
    settle(net, machines, decision)


@njit
def _weigh(net, machines, full, decision, plan, state, scratch, heat, random):
    """Whether to accept what is decided, its cost, excess of memory, and the operators simulated."""
    over, work = np.int64(0), 0
    now = state[OVER] if state[OVER] > 0 else state[COST]  # out of memory: that comes first
    limit = np.int64(min(now * (1.0 - heat * np.log(1.0 - _uniform(random))), 2.0**61))
    if state[OVER] > 0:
        cost, over = judge(net, full, machines, decision, plan.fifo, state)
        return over <= limit, cost, over, 4 * len(decision.place)
    cost, work = makespan(net, machines, decision.place, decision.rank, plan.fifo, decision.load, plan.bounded, limit,
                          decision.tail, scratch)  # fmt: skip
    accept = cost <= limit
    if accept and (state[SCARCE] or cost < state[BEST_COST]):
        scarce = state[SCARCE]
        over = judge(net, full, machines, decision, plan.fifo, state)[1]
        work += 4 * len(decision.place)
        if over > 0:
            accept = False
            state[SCARCE] = 1 if scarce else 2  # 2: what was accepted unchecked may be out of memory already
    return accept, cost, over, work


@njit(nogil=True)
def anneal(net, machines, full, parts, layers, decision, log, scratch, plan, table, state, random):
    """Moves until the steps are used up, the quota is simulated, or finer units or newer weights are wanted.

    state (8,) int64 and random (1,) uint64 go on from where they were.
    """
    nodes, scales, work = len(decision.place), len(parts.begin) - 1, 0
    kinds = (4 if plan.placing else 0) + (1 if plan.shifting else 0)
    while state[STEPS] < plan.limit and work < plan.quota:
        done = max(plan.share, state[STEPS] / plan.limit)
        wanted = 1 + int(3 * done)
        if min(wanted, 3) > scales or (state[STEPS] >= plan.until and state[CHANGED] > plan.made):
            return
        heat = plan.hot * (plan.cold / plan.hot) ** done
        fine = min(_below(random, wanted), 2)
        kind = _below(random, kinds)
        shifted = not plan.placing or kind == 4
        state[STEPS] += 1
        work += 64
        if shifted:
            table.last[0] = -1
            count = _shift(fine, parts, decision, log, random)
        else:
            count = _replace(kind, fine, parts, layers, machines, decision, log, table, random)
        if count > 0:
            logged = 0
            if plan.bounded and not shifted:
                logged = retail(net, machines, decision.place, decision.tail, log.moved, count, log.dirty, log.node,
                                log.tail)  # fmt: skip
                work += nodes // 8
            accept, cost, over, more = _weigh(net, machines, full, decision, plan, state, scratch, heat, random)
            work += more
            if state[SCARCE] == 2:
                state[SCARCE] = 1
                _return_to_best(net, machines, decision, state)
            elif accept:
                state[COST], state[OVER], state[CHANGED] = cost, over, state[STEPS]
                if over < state[BEST_OVER] or (over == state[BEST_OVER] and cost < state[BEST_COST]):
                    state[BEST_COST], state[BEST_OVER], state[IMPROVED] = cost, over, state[STEPS]
                    decision.best_place[:] = decision.place
                    decision.best_rank[:] = decision.rank
            else:
                _take_back(shifted, count, logged, decision, machines, log)
                _refuse(table)
        else:
            _refuse(table)
        if state[STEPS] - state[IMPROVED] > plan.patience:
            _return_to_best(net, machines, decision, state)
        if state[CHANGED] == state[STEPS]:
            _restore(table)
