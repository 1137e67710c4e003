"""Baselines of graph partitioning: streaming rules, spectral, METIS and KaHIP, and the repair that others share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.errors import MissingDependency, UsageError, announce
from sysgym.core.problem import Array, Solution
from sysgym.graphs.csr import Graph
from sysgym.partitioning.judge import balance_limit
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning

PARTITIONING = ("Partitioning",)
KAHIP_MOST_DEGREE = 10**6  # weighted; its perfectly balanced mode keeps a bucket for every possible gain


def cut_of(graph: Graph, part: Array) -> int:
    """Weight of the edges between parts."""
    return int(graph.adjwgt[part[graph.sources] != part[graph.adjncy]].sum()) // 2


def rebalance_and_refine(graph: Graph, part: Array, k: int, l_max: int, clock: Clock) -> Array:
    """A copy of `part` (n,) int32 moved within the limit where it can be, then improved by FM until time is up."""
    from sysgym.graphs.multilevel import balance_kernels as kernels
    from sysgym.graphs.multilevel.refinement_kernels import PASSES, ROUNDS, improve, room_of

    better, arrays = keep_fixed(graph, part, k), kernels.csr(graph)
    kernels.rebalance(arrays, better, k, l_max)
    limits, plain, state = np.full(k, l_max, np.int64), np.zeros(5), np.ones(1, np.uint64)
    room = np.full(k, room_of(arrays, k, l_max), np.int64)
    if not clock.budget.timed:
        improve(arrays, better, limits, room, plain, PASSES, ROUNDS, state)
        return better
    for _ in range(PASSES):
        if clock.spent() or not improve(arrays, better, limits, room, plain, 1, 1, state)[0]:
            break
    return better


def halved(graph: Graph, values: Array) -> Array:
    """Two parts (n,) int32, divided at the weighted median of values (n,)."""
    order = np.argsort(values, kind="stable")
    part = np.empty(graph.nodes, np.int32)
    part[order] = np.cumsum(graph.vwgt[order]) > graph.total_node_weight / 2
    return part


def keep_fixed(graph: Graph, part: Array, k: int) -> Array:
    """A copy of `part` (n,) int32 with fixed nodes in their parts; parts change names so that few of them must move."""
    part = np.array(part, np.int32)
    if graph.fixed is None:
        return part
    from scipy.optimize import linear_sum_assignment

    fixed = np.flatnonzero(graph.fixed >= 0)
    agreed = np.zeros((k, k))
    np.add.at(agreed, (part[fixed], graph.fixed[fixed]), np.maximum(graph.degree[fixed], 1))
    part = linear_sum_assignment(agreed, maximize=True)[1].astype(np.int32)[part]
    part[fixed] = graph.fixed[fixed]
    return part


def free_only(agent: str, graph: Graph) -> None:
    """UsageError for fixed nodes, which the library behind an agent cannot keep."""
    if graph.fixed is not None:
        raise UsageError(f"agent {agent!r} cannot keep nodes of {graph.name} fixed; choose 'fm' or 'mtkahypar'.")


def from_nothing(agent: str, graph: Graph) -> None:
    """Announce that an agent does not begin with the partition that is given."""
    if graph.start is not None:
        announce(f"agent {agent!r} does not improve a given partition, but makes its own; 'fm' and 'mtkahypar' do.")


def slack(problem: Partitioning, graph: Graph) -> float:
    """The eps that other partitioners must be given: `problem.eps`, or what the limit of this graph comes to."""
    limit = balance_limit(graph, problem.k, problem.eps)
    share = -(-graph.total_node_weight // problem.k)
    return float((limit.weight + 0.5) / share - 1) if limit.relaxed else float(problem.eps)


class _Streaming:
    problems = PARTITIONING
    indivisible = "the whole answer, one pass over the nodes"

    def __init__(self, *, order: str = "bfs") -> None:
        self.order = order

    def _solve(
        self, problem: Partitioning, graph: Graph, rng: np.random.Generator, alpha: float, gamma: float
    ) -> Solution:
        from sysgym.graphs.labels.starts import first_labels, node_order
        from sysgym.graphs.multilevel.balance_kernels import csr
        from sysgym_agents.partitioning.partition_kernels import stream

        from_nothing(type(self).__name__.lower(), graph)
        part, load = first_labels(graph, problem.k)
        capacity = max(graph.total_node_weight / problem.k, 1.0)
        order, score = node_order(graph, self.order, rng), (float(alpha), float(gamma), float(capacity))
        stream(csr(graph), order, part, load, problem.limit(graph), score)
        return {"part": part}


class LDG(_Streaming):
    """Linear deterministic greedy: one pass, neighbours weighted by the room left (Stanton and Kliot, KDD 2012)."""

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """One pass over the nodes in `order`."""
        return self._solve(problem, instance, rng, 0.0, 0.0)


class Fennel(_Streaming):
    """Fennel: one pass, neighbours minus a growing price of load, gamma = 1.5 (Tsourakakis et al., WSDM 2014)."""

    def __init__(self, *, order: str = "bfs", gamma: float = 1.5) -> None:
        super().__init__(order=order)
        self.gamma = gamma

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """One pass over the nodes in `order`; alpha = m k^(gamma-1) / W^gamma as in the paper's section 3."""
        weight = max(instance.total_node_weight, 1)
        alpha = instance.total_edge_weight * problem.k ** (self.gamma - 1) / weight**self.gamma
        return self._solve(problem, instance, rng, alpha, self.gamma)


class Spectral:
    """Spectral clustering on Laplacian eigenvectors, then balancing by moves of least loss (von Luxburg 2007).

    k-means on `vectors` eigenvectors (default: k) weighs nothing; `rebalance` makes the answer feasible. No FM.
    """

    problems = PARTITIONING
    indivisible = "the whole answer: the eigenvectors, k-means and balancing"

    def __init__(self, *, vectors: int = 0, rounds: int = 20) -> None:
        self.vectors, self.rounds = vectors, rounds

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """Eigenvectors, k-means from k-means++ seeds, balancing."""
        from scipy.cluster.vq import kmeans2

        from sysgym.graphs.multilevel.balance_kernels import csr, rebalance
        from sysgym.graphs.spectral import laplacian_eigenvectors

        from_nothing("spectral", instance)
        k = problem.k
        if k == 2 and not self.vectors:  # the weighted median of the Fiedler vector is balanced by itself
            part = halved(instance, laplacian_eigenvectors(instance, 1)[:, 0])
        else:
            points = laplacian_eigenvectors(instance, self.vectors or k)
            if instance.nodes <= k:
                part = np.arange(instance.nodes, dtype=np.int32)
            else:
                part = kmeans2(points, k, iter=self.rounds, minit="++", rng=rng, missing="raise")[1].astype(np.int32)
        part = keep_fixed(instance, part, k)
        rebalance(csr(instance), part, k, problem.limit(instance))
        return {"part": part}


class Metis:
    """METIS 5 (Karypis and Kumar 1998) through pymetis. Its balance is soft: the answer may be infeasible.

    Weights must fit the integers that METIS was built with (64 bits in the wheels, 32 in some distributions).
    """

    problems = PARTITIONING
    indivisible = "the whole answer, one call of METIS"

    def __init__(self, *, recursive: bool = False, cuts: int = 1, seed: int = -1) -> None:
        self.recursive, self.cuts, self.seed = recursive, cuts, seed

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """One call; `cuts` partitions are tried inside. The seed is drawn from `rng` unless one is given."""
        try:
            import pymetis
        except ImportError as error:
            raise MissingDependency("agent 'metis' needs pymetis: pip install 'sysgym[partitioners]'.") from error
        free_only("metis", instance)
        from_nothing("metis", instance)
        check_widths("metis", instance, _metis_bits(pymetis))
        ufactor = max(1, round(1000 * slack(problem, instance)))
        options = pymetis.Options(ufactor=ufactor, seed=self._seed(rng), ncuts=self.cuts)
        _, labels = pymetis.part_graph(
            problem.k, pymetis.CSRAdjacency(instance.xadj, instance.adjncy), eweights=instance.adjwgt,
            vweights=instance.vwgt, recursive=self.recursive, options=options,
        )  # fmt: skip
        return {"part": np.asarray(labels, np.int32)}

    def _seed(self, rng: np.random.Generator) -> int:
        return self.seed if self.seed >= 0 else int(rng.integers(1, 2**31 - 1))


def _metis_bits(pymetis: Any) -> int:
    """Width of METIS' integers; 32, the narrower build, where pymetis does not tell."""
    width = getattr(pymetis._internal, "_idx_type_width", None)
    return int(width()) if width else 32


class Kahip:
    """KaHIP's KaFFPa (Sanders and Schulz 2011) through its wheel; modes fast, eco, strong.

    Its balance is soft where nodes are few or weighted: the answer may be infeasible. The library crashes, hangs or
    overflows on some instances, which are refused: more parts than nodes, weights beyond 32 bits, and eps=0 with node
    weights or with a weighted degree above a million.
    """

    problems = PARTITIONING
    indivisible = "the whole answer, one call of KaFFPa"
    presets = ("fast", "eco", "strong")

    def __init__(self, *, preset: str = "eco") -> None:
        from sysgym.core.errors import unknown

        if preset not in self.presets:
            raise unknown("preset of kahip", preset, self.presets)
        self.preset = preset

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """One call with a seed drawn from `rng`."""
        try:
            import kahip
        except ImportError as error:
            raise MissingDependency("agent 'kahip' needs kahip: pip install 'sysgym[partitioners]'.") from error
        self._check(problem, instance)
        mode = {"fast": 0, "eco": 1, "strong": 2}[self.preset]
        _, labels = kahip.kaffpa(
            instance.vwgt.tolist(), instance.xadj.tolist(), instance.adjwgt.tolist(), instance.adjncy.tolist(),
            problem.k, slack(problem, instance), True, int(rng.integers(1, 2**31 - 1)), mode,
        )  # fmt: skip
        return {"part": np.asarray(labels, np.int32)}

    def _check(self, problem: Partitioning, graph: Graph) -> None:
        """UsageError for what the library does not survive."""
        free_only("kahip", graph)
        from_nothing("kahip", graph)
        check_widths("kahip", graph, 32)
        if problem.k > graph.nodes:
            raise UsageError(
                f"agent 'kahip' cannot split the {graph.nodes} nodes of {graph.name} into {problem.k} parts; "
                "choose k of at most the number of nodes, or another agent such as 'fm'."
            )
        if slack(problem, graph) == 0 and ((graph.vwgt != 1).any() or graph.degree.max(initial=0) > KAHIP_MOST_DEGREE):
            raise UsageError(
                f"agent 'kahip' cannot balance {graph.name} perfectly, as it has node weights or edges heavier than "
                f"{KAHIP_MOST_DEGREE} at a node; choose eps above 0, or another agent such as 'fm'."
            )


def check_widths(agent: str, graph: Graph, bits: int) -> None:
    """UsageError if the sums of node or edge weights (each edge twice) do not fit signed integers of so many bits."""
    for what, total in (("node", graph.total_node_weight), ("edge", 2 * graph.total_edge_weight)):
        if total >= 2 ** (bits - 1):
            raise UsageError(
                f"agent {agent!r} counts in {bits}-bit integers, the {what} weights of {graph.name} sum to {total}; "
                "scale them down, or choose another agent such as 'fm'."
            )
