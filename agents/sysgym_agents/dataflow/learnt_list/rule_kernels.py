"""List scheduling with a learnt choice of the device: operators in order, units placed when their first one comes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.compiled import njit
from sysgym.core.problem import Array

CHOICES, CONTEXT, HIDDEN = 13, 9, 16  # features of a device, of a unit, and hidden numbers
INPUTS = CHOICES + CONTEXT
NUMBERS = INPUTS * HIDDEN + 2 * HIDDEN + CHOICES
MOST = 3.0  # of features that are ratios
SOON = 4.0  # times that are compared with an even share of the work are stretched so far


class Tables(NamedTuple):
    """A graph on its devices, in units; times in ns."""

    order: Array  # (N,) int64 operators, inputs before readers
    in_ptr: Array  # (N + 1,)
    in_tensor: Array  # (E,)
    tensor_src: Array  # (T,)
    sending: Array  # (T,) float64 time that a tensor takes a link
    latency: float
    times: Array  # (D, N) float64
    unit: Array  # (N,) unit of each operator
    work: Array  # (D, U) float64
    near_ptr: Array  # (U + 1,)
    near: Array  # (M,) linked units
    link: Array  # (M,) float64 time of the link
    layer: Array  # (U,) int64
    layers: int
    context: Array  # (U, CONTEXT - 1) float64
    total: float  # work of all units, the mean over devices
    held: Array  # (U,) float64 bytes of parameters
    capacity: Array  # (D,) float64


class Weights(NamedTuple):
    """Of the perceptron, and of the linear rule beside it."""

    first: Array  # (HIDDEN, INPUTS) float64
    bias: Array  # (HIDDEN,)
    second: Array  # (HIDDEN,)
    linear: Array  # (CHOICES,)


@njit
def _arrival(v, device, tables, place, finish, sent, out_free, in_free):
    """When the inputs of operator v are on a device, as far as they are known, and the device of the last of them."""
    found, latest, parent = 0.0, -1.0, -1
    for e in range(tables.in_ptr[v], tables.in_ptr[v + 1]):
        tensor = tables.in_tensor[e]
        source = tables.tensor_src[tensor]
        there = place[tables.unit[source]]
        if there < 0:
            continue
        if finish[source] > latest:
            latest, parent = finish[source], there
        if there == device:
            time = finish[source]
        elif sent[tensor, device] >= 0:
            time = sent[tensor, device]
        else:
            time = max(finish[source], out_free[there], in_free[device]) + tables.sending[tensor] + tables.latency
        found = max(found, time)
    return found, parent


@njit
def _run(v, tables, place, finish, sent, out_free, in_free, free):
    """Send the inputs of operator v to its device and run it there."""
    device, ready = place[tables.unit[v]], 0.0
    for e in range(tables.in_ptr[v], tables.in_ptr[v + 1]):
        tensor = tables.in_tensor[e]
        source = tables.tensor_src[tensor]
        there = place[tables.unit[source]]
        time = finish[source]
        if there != device:
            if sent[tensor, device] < 0:
                end = max(finish[source], out_free[there], in_free[device]) + tables.sending[tensor]
                out_free[there] = in_free[device] = end
                sent[tensor, device] = end + tables.latency
            time = sent[tensor, device]
        ready = max(ready, time)
    finish[v] = max(ready, free[device]) + tables.times[device, v]
    free[device] = finish[v]


@njit
def place_units(tables, weights, noise, heat, place):
    """Place all units: place (U,) int32 is filled with the device of the highest score, heat * noise (U, D) added.

    The score of a device is linear plus a perceptron in its features: by how much the unit would end later than on the
    best one (over an even share of the work, and over itself and the unit), the same of its inputs' arrival; load, what
    it would exceed an even share by, and by how much the least load; share and time of the unit's links that lead
    there, share of the unit's layer there; whether the last input comes from there, whether it is empty, and the last
    one chosen; memory. Of empty devices only the first is looked at: they are alike but for their names.
    """
    nodes, devices, units = len(tables.order), tables.times.shape[0], len(place)
    finish, free, sent = np.zeros(nodes), np.zeros(devices), np.full((len(tables.sending), devices), -1.0)
    out_free, in_free, load, memory = np.zeros(devices), np.zeros(devices), np.zeros(devices), np.zeros(devices)
    same, layers = np.zeros((tables.layers, devices)), np.zeros(tables.layers)
    arrival, end, near = np.zeros(devices), np.zeros(devices), np.zeros(devices)
    hidden, x = np.zeros(HIDDEN), np.zeros(CHOICES)
    even, last, placed = tables.total / devices, -1, 0.0
    for u in range(units):
        place[u] = -1
    for v in tables.order:
        u = tables.unit[v]
        if place[u] < 0:
            parent, links = -1, 1e-9
            for d in range(devices):
                arrival[d], parent = _arrival(v, d, tables, place, finish, sent, out_free, in_free)
                end[d] = max(arrival[d], free[d]) + tables.work[d, u]
                near[d] = 0.0
            for e in range(tables.near_ptr[u], tables.near_ptr[u + 1]):
                links += tables.link[e]
                if place[tables.near[e]] >= 0:
                    near[place[tables.near[e]]] += tables.link[e]
            for h in range(HIDDEN):
                hidden[h] = weights.bias[h] + weights.first[h, INPUTS - 1] * placed / tables.total
                for c in range(CONTEXT - 1):
                    hidden[h] += weights.first[h, CHOICES + c] * tables.context[u, c]
            first_end, first_arrival, least, layer = end.min(), arrival.min(), load.min(), tables.layer[u]
            best, chosen, empty = -np.inf, 0, False
            for d in range(devices):
                if load[d] == 0.0:
                    if empty:
                        continue
                    empty = True
                late, more = end[d] - first_end, load[d] + tables.work[d, u] - even
                x[0] = min(SOON * late / even, MOST)
                x[1] = late / (late + tables.work[d, u] + 1e-3 * even)
                x[2] = min(SOON * (arrival[d] - first_arrival) / even, MOST)
                x[3] = min(load[d] / even, MOST)
                x[4] = min(2.0 * max(more, 0.0) / even, MOST)
                x[5] = near[d] / links
                x[6] = min(SOON * near[d] / even, MOST)
                x[7] = same[layer, d] / layers[layer] if layers[layer] > 0 else 0.0
                x[8] = 1.0 if d == parent else 0.0
                x[9] = 1.0 if load[d] == 0.0 else 0.0
                x[10] = 1.0 if d == last else 0.0
                x[11] = min((load[d] - least) / even, MOST)
                x[12] = min((memory[d] + tables.held[u]) / tables.capacity[d], 2.0)
                score = heat * noise[u, d]
                for c in range(CHOICES):
                    score += weights.linear[c] * x[c]
                for h in range(HIDDEN):
                    inner = hidden[h]
                    for c in range(CHOICES):
                        inner += weights.first[h, c] * x[c]
                    score += weights.second[h] * np.tanh(inner)
                if score > best:
                    best, chosen = score, d
            place[u] = last = chosen
            work = tables.work[chosen, u]
            load[chosen] += work
            placed += work
            memory[chosen] += tables.held[u]
            same[layer, chosen] += work + 1.0
            layers[layer] += work + 1.0
        _run(v, tables, place, finish, sent, out_free, in_free, free)
