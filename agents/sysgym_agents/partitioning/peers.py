"""Peers that a learner of partitions is measured by: the same repair after spectral parts, METIS again, Mt-KaHyPar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np

from sysgym.core.errors import MissingDependency, UsageError, unknown
from sysgym.core.options import Range
from sysgym.core.problem import AnyProblem, Array, Instance, Solution
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.resources import threads
from sysgym_agents.core import Budget, Clock, completed
from sysgym_agents.general.restarts import Restarted
from sysgym_agents.partitioning.baselines import (
    PARTITIONING,
    Metis,
    check_widths,
    from_nothing,
    halved,
    slack,
)
from sysgym_agents.partitioning.coarse import Plan, repeated
from sysgym_agents.partitioning.multilevel.hypergraph import allowed, library_hypergraph

if TYPE_CHECKING:
    from sysgym.partitioning.problem import Partitioning

EVENED = 40  # rounds that even out the parts of anchors, as many as `gap` has
VCYCLES = 3  # of Mt-KaHyPar where it improves a start

completed(Metis)


class SpectralFM:
    """Parts around anchors in the spectral embedding, evened, moved within the limit and refined: what `gap` adds to.

    It is `gap` without its network: the same clusters, embedding, anchors, repair and restarts, but the part of a node
    is that of its nearest anchor. Two parts are first divided at the weighted median of the Fiedler vector.

    Hyper-parameters:
        coarsest: nodes of the coarse graph that is partitioned, 30 a part at least; 0 = the graph itself.
        passes: guesses on a coarse graph, each with other anchors; the best after repair there goes up.
        restarts: coarse graphs, each of other clusters, where there is no limit of time.
    """

    problems = PARTITIONING
    indivisible = "a pass of repair, or a first guess: the clusters, the eigenvectors and k-means"

    def __init__(
        self, *, coarsest: Annotated[int, Range(0, 10**6)] = 400, passes: Annotated[int, Range(1, 10**4)] = 4,
        restarts: Annotated[int, Range(1, 10**6)] = 1,
    ) -> None:  # fmt: skip
        self.plan = Plan(coarsest, passes, restarts)

    def prepare(self) -> None:
        """Import what finds eigenvectors, and the kernels."""
        import scipy.sparse.linalg  # noqa: F401

        from sysgym.graphs.multilevel import coarsening_kernels, refinement_kernels
        from sysgym_agents.partitioning import partition_kernels

        assert partition_kernels and coarsening_kernels and refinement_kernels

    def solve(self, problem: Partitioning, instance: Graph, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best repaired guess; another is made while time is left."""
        from_nothing("spectral-fm", instance)
        clock = Clock(budget)

        def guesses(graph: Graph, draws: np.random.Generator) -> Iterator[Array]:
            return _anchored(graph, problem.k, draws)

        return {"part": repeated(guesses, problem, instance, rng, self.plan, clock)}


def _anchored(graph: Graph, k: int, rng: np.random.Generator) -> Iterator[Array]:
    """The parts (n,) int32 of the nearest anchors, evened; of two parts, the halves of the Fiedler vector first."""
    from sysgym_agents.partitioning import anchors

    points = anchors.embedding(graph, anchors.eigenvectors_for(k))
    if k == 2:
        yield halved(graph, points[:, 0])
    for rounds in anchors.draw_rounds(rng):
        distances = anchors.anchor_distances(points, graph.vwgt, k, rng, rounds)
        yield anchors.evened(anchors.closeness(distances), graph.vwgt, EVENED)


class MetisRestarts(Restarted):
    """METIS again with new seeds while the budget lasts, the best by `judge`; without a budget, `runs` times.

    METIS' balance is soft, so that a single call may be infeasible where one of several is not.
    """

    problems = PARTITIONING
    step = "a call of METIS, which makes one partition"
    indivisible = "a call of METIS"

    def __init__(self, *, runs: int = 10, recursive: bool = False) -> None:
        if runs < 1:
            raise UsageError(f"runs of agent 'metis-restarts' must be at least 1, got {runs}.")
        super().__init__(Metis(recursive=recursive))
        self.usual = runs

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best partition of the calls that the budget allows, one at least."""
        return super().solve(problem, instance, rng, Budget(steps=self.usual) if budget == Budget() else budget)


class MtKahypar:
    """Mt-KaHyPar (Gottesbüren et al. 2021) through its wheel, on as many threads as are allowed.

    Presets: default, quality, deterministic. Only the last answers the same on several threads. Fixed nodes stay; a
    given start is improved by V-cycles.
    """

    problems = PARTITIONING
    presets = ("default", "quality", "deterministic")
    indivisible = "the whole answer, one call of Mt-KaHyPar"

    def __init__(self, *, preset: str = "default") -> None:
        if preset not in self.presets:
            raise unknown("preset of mtkahypar", preset, self.presets)
        self.preset = preset

    def solve(
        self, problem: Partitioning, instance: Graph | Hypergraph, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """One call with a seed drawn from `rng`; UsageError for more parts than nodes."""
        check_widths("mtkahypar", cast(Graph, instance), 32)
        if problem.k > instance.nodes:
            raise UsageError(
                f"agent 'mtkahypar' cannot split the {instance.nodes} nodes of {instance.name} into {problem.k} parts; "
                "choose k of at most the number of nodes, or another agent such as 'fm'."
            )
        library, begun = _library()
        library.set_seed(int(rng.integers(1, 2**31 - 1)))
        context = begun.context_from_preset(getattr(library.PresetType, self.preset.upper()))
        if isinstance(instance, Hypergraph):
            objective, eps = getattr(library.Objective, problem.objective.upper()), allowed(problem, instance)
        else:
            objective, eps = library.Objective.CUT, slack(problem, instance)
        context.set_partitioning_parameters(problem.k, eps, objective)
        context.logging = False
        make = library_hypergraph if isinstance(instance, Hypergraph) else _library_graph
        graph = make(begun, context, instance)
        if instance.fixed is not None:
            graph.add_fixed_vertices(instance.fixed.tolist(), problem.k)
        if instance.start is None:
            found = graph.partition(context)
        else:
            found = graph.create_partitioned_hypergraph(context, problem.k, instance.start.tolist())
            found.improve_partition(context, VCYCLES)
        return {"part": np.array([found.block_id(node) for node in range(instance.nodes)], np.int32)}


def _library_graph(begun: Any, context: Any, graph: Any) -> Any:
    """A graph as the library's object."""
    once = graph.sources < graph.adjncy
    pairs = np.stack([graph.sources[once], graph.adjncy[once]], axis=1).tolist()
    return begun.create_graph(
        context, graph.nodes, len(pairs), list(map(tuple, pairs)), graph.vwgt.tolist(), graph.adjwgt[once].tolist()
    )


_begun: list[Any] = []  # the library and its thread pool, which it makes once in a process


def _library() -> tuple[Any, Any]:
    """The library and what makes its graphs; MissingDependency without it."""
    if not _begun:
        try:
            import mtkahypar
        except ImportError as error:
            raise MissingDependency("agent 'mtkahypar' needs mtkahypar: pip install 'sysgym[partitioners]'.") from error
        _begun[:] = [mtkahypar, mtkahypar.initialize(threads(), False)]
    return _begun[0], _begun[1]
