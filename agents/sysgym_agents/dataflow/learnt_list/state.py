"""A graph as the learnt rule reads it, and the numbers of the rule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym.dataflow.features import STATIC_FEATURES, Work, unit_features
from sysgym.dataflow.graphs.graph import BACKWARD
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.simulate import evaluate_batch
from sysgym_agents.dataflow.learnt_list.rule_kernels import (
    CHOICES,
    HIDDEN,
    INPUTS,
    NUMBERS,
    Tables,
    Weights,
    place_units,
)

SPREAD = 0.3  # of the perceptron's first weights


class Read(NamedTuple):
    """A graph in units."""

    work: Work
    depth: Array  # (U,) float64 share of the time of all layers before the middle of the unit's
    backward: Array  # (U,) bool, mostly of the backward pass
    tables: Tables

    @property
    def job(self) -> Job:
        """The graph on its devices."""
        return self.work.job

    @property
    def shape(self) -> tuple[int, int]:
        """Units and devices."""
        return self.work.units.count, self.job.devices


def read(work: Work) -> Read:
    """The tables of a graph that is cut into units."""
    job, units = work.job, work.units
    graph = job.graph
    members = work.sums(np.ones(graph.nodes))
    layers = np.bincount(graph.layer, weights=graph.time_ns)
    middle = (np.cumsum(layers) - layers / 2) / max(float(layers.sum()), 1.0)
    depth = work.sums(middle[graph.layer]) / members
    order = np.lexsort((np.arange(graph.nodes), -job.critical_path))
    at = np.empty(graph.nodes, np.int64)
    at[order] = np.arange(graph.nodes)
    if (at[graph.edge_src] > at[graph.edge_dst]).any():  # priorities that tie: the graph's own order is topological
        order = np.arange(graph.nodes)
    pace, latency = work.link
    source, target, size = work.links
    link = size / pace + latency
    _, layer = np.unique(graph.layer[work.first], return_inverse=True)
    total = max(float(work.mean_work.sum()), 1.0)
    rows = unit_features(work)
    named = [rows[:, STATIC_FEATURES.index(name)] for name in ("backward", "up_rank", "down_rank")]
    linked = np.bincount(source, weights=link, minlength=units.count)
    even = total / job.devices
    context = np.stack(
        [*named, np.minimum(work.mean_work / even, 2.0), np.full(units.count, work.sending),
         np.full(units.count, np.log2(job.devices) / 3), np.minimum(linked / (work.mean_work + 1e-3 * even), 5.0) / 5,
         depth], axis=1,
    )  # fmt: skip
    tables = Tables(
        order.astype(np.int64), graph.in_ptr, graph.edge_tensor, graph.tensor_src, graph.tensor_bytes / pace,
        float(latency), job.times.astype(np.float64), units.of, work.work, work.link_ptr.astype(np.int64),
        target.astype(np.int64), link, layer.ravel().astype(np.int64), int(layer.max()) + 1,
        context.astype(np.float64), total, work.held, np.maximum(np.asarray(job.capacity, np.float64), 1.0),
    )  # fmt: skip
    return Read(work, depth, work.sums(graph.phase == BACKWARD) / members > 0.5, tables)


def weights_of(theta: Array) -> Weights:
    """The parts of the numbers (NUMBERS,) of a rule."""
    ends = np.cumsum([INPUTS * HIDDEN, HIDDEN, HIDDEN])
    first, bias, second, linear = np.split(np.asarray(theta, np.float64), ends)
    return Weights(first.reshape(HIDDEN, INPUTS).copy(), bias.copy(), second.copy(), linear.copy())


def earliest_finish() -> Array:
    """HEFT's rule (Topcuoglu et al. 2002), (NUMBERS,): the device where the unit ends first."""
    theta = np.zeros(NUMBERS)
    theta[-CHOICES:][:2] = -1.0
    return theta


def beginning(rules: int, rng: np.random.Generator) -> Array:
    """What so many rules start from, (R, NUMBERS): HEFT's rule, beside a perceptron that does not speak yet."""
    theta = np.tile(earliest_finish(), (rules, 1))
    theta[:, : INPUTS * HIDDEN] = SPREAD * rng.normal(size=(rules, INPUTS * HIDDEN))
    return theta


def placed(given: Read, theta: Array, noise: Array | None = None, heat: float = 0.0) -> Array:
    """The placement of a rule, (N,) int32, with noise (U, D) times heat added to the scores."""
    home = np.empty(given.shape[0], np.int32)
    place_units(given.tables, weights_of(theta), np.zeros(given.shape) if noise is None else noise, heat, home)
    return np.asarray(home[given.work.units.of])


def judged(given: Read, placements: Array) -> tuple[Array, Array]:
    """Costs (B,) float64 ns and bytes beyond the memories (B,) of placements (B, N)."""
    job = given.job
    if not job.plain:
        scores = [job.score(each) for each in placements]
        return np.array([each.cost for each in scores]), np.array([each.over_bytes for each in scores])
    priority = None
    if job.rules.schedule == "critical_path":
        priority = np.broadcast_to(job.critical_path, placements.shape)
    spans, peaks = evaluate_batch(job.graph, job.times, job.cluster, placements.astype(np.int32), priority)
    return spans.astype(np.float64), np.maximum(peaks - job.capacity, 0).sum(axis=1)


def homes(work: Work, placement: Array) -> Array:
    """The device on which each unit spends most time, (U,) int32, under a placement (N,)."""
    spent = np.zeros((work.units.count, work.job.devices))
    np.add.at(spent, (work.units.of, placement), work.job.graph.time_ns + 1.0)
    return np.asarray(spent.argmax(axis=1), np.int32)
