"""How much later each operator and transfer of a realised schedule could be without delaying its end."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit
from sysgym.dataflow.simulator.kernels import EGRESS_INGRESS, FAR, PAIR


@njit(nogil=True)
def slacks(net, machines, place, events, begin, finish, moves, spans, source, end, slack, spare):
    """One backward pass: into slack (N,) int64 of operators and spare (M,) int64 of transfers, nanoseconds.

    The order of operators on devices, and of transfers on links, stays that of the schedule. events (N + M,) int64 are
    operators v and transfers N + m, the latest start first; source (T,) is the producer of each tensor; end the
    makespan. moves, spans: see `Outcome`.
    """
    nodes, devices = len(place), len(machines.latency)
    due = np.full(nodes, FAR)  # when an operator must have ended for its transfers
    late = np.full(nodes, end)  # when it must have begun
    following = np.full(devices, FAR)
    egress, ingress = np.full(devices, FAR), np.full(devices, FAR)
    link = np.full((devices, devices), FAR)
    for event in events:
        if event >= nodes:
            m = event - nodes
            x, p = moves[m, 0], moves[m, 1]
            d = place[source[x]]
            latest = end
            for u in range(net.use_ptr[x], net.use_ptr[x + 1]):
                c = net.use_node[u]
                if place[c] == p:
                    latest = min(latest, late[c])
            latest -= machines.latency[d, p]
            if machines.mode == PAIR:
                latest = min(latest, link[d, p])
            elif machines.mode == EGRESS_INGRESS:
                latest = min(latest, min(egress[d], ingress[p]))
            latest -= spans[m, 1] - spans[m, 0]
            link[d, p], egress[d], ingress[p] = latest, latest, latest
            due[source[x]] = min(due[source[x]], latest)
            spare[m] = max(latest - spans[m, 0], 0)
            continue
        v, d = event, place[event]
        latest = min(end, min(due[v], following[d]))
        for x in range(net.out_ptr[v], net.out_ptr[v + 1]):
            for u in range(net.use_ptr[x], net.use_ptr[x + 1]):
                c = net.use_node[u]
                if place[c] == d:
                    latest = min(latest, late[c])
        late[v] = latest - (finish[v] - begin[v])
        following[d] = late[v]
        slack[v] = max(latest - finish[v], 0)
