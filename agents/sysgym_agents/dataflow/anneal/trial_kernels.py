"""What moves are worth: the makespan after each of many from one placement, and after further ones that help."""

from __future__ import annotations

from sysgym.compiled import njit
from sysgym.dataflow.simulator.lean_kernels import makespan
from sysgym_agents.dataflow.anneal.move_kernels import _below, _replace, _send, _take_back, settle


@njit(nogil=True)
def trials(net, machines, parts, layers, decision, log, scratch, table, fifo, moves, further, random, found):
    """The makespan after each move (kind, unit, device) of moves (B, 3) from decision.best_place, into found (B,).

    Then `further` random moves are tried, each kept if it makes nothing worse; the same random numbers follow each.
    """
    seed, scales = random[0], len(parts.begin) - 1
    for b in range(len(moves)):
        random[0] = seed
        decision.place[:] = decision.best_place
        settle(net, machines, decision)
        if moves[b, 0] >= 0:
            _send(moves[b, 0], moves[b, 1], moves[b, 2], parts, layers, machines, decision, log, random)
        random[0] = seed
        now = makespan(net, machines, decision.place, decision.rank, fifo, decision.load, False, 0, decision.tail,
                       scratch)[0]  # fmt: skip
        for _ in range(further):
            count = _replace(_below(random, 4), _below(random, scales), parts, layers, machines, decision, log, table,
                             random)  # fmt: skip
            cost = makespan(net, machines, decision.place, decision.rank, fifo, decision.load, False, 0, decision.tail,
                            scratch)[0]  # fmt: skip
            if cost <= now:
                now = cost
            else:
                _take_back(False, count, 0, decision, machines, log)
        found[b] = now
