"""Balanced graph partitioning as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.instances import InstanceSet, find_entry, instance_of, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, ArraySpec, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays, renumbered
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.graphs.labels.files import format_partition, parse_partition
from sysgym.graphs.objects import adopt_graph
from sysgym.partitioning.given import STARTS, check_start, with_given
from sysgym.partitioning.instance import TOPIC, generated, is_graph, load_graph
from sysgym.partitioning.judge import balance_limit, judge_partition

if TYPE_CHECKING:
    from sysgym.partitioning.modes import ByKind
    from sysgym.partitioning.multilevel import Multilevel


@complete
class Partitioning:
    """Split the nodes of a graph into k parts of nearly equal weight, cutting as little edge weight as possible.

    Description: the problem of GAP (Nazi et al., arXiv 1903.00614), METIS, KaHIP and Walshaw's archive. cost = cut,
    the weight of edges between parts. A partition is feasible if no part weighs more than
    L_max = floor((1+eps) * ceil(W/k)), or than the largest load of longest-first packing into k parts where that is
    more (metric `limit_relaxed`); and all in one part is none. Fixed nodes must keep their part (metric `moved`).
    Hypergraphs, whose nets join any number of nodes, are the problem of hMETIS and KaHyPar: cost = cut, the weight of
    nets in two parts or more, or km1. Of a computation graph (sysgym.dataflow/1) operators and the edges between them
    weigh 1, and operations are attributes of nodes, which no observation shows. Solution: `part`, (n,) integers in
    0..k-1.

    Options:
        mode: "oneshot" (all parts at once), "assign" (node by node), "refine" (moves from a start) or "multilevel" (of
            graphs: clusters, bisections and searches on levels).
        k: number of parts. eps: allowed imbalance.
        ubfactor: hMETIS' balance of two parts of a hypergraph, in place of eps: each weighs 50 - ubfactor to
            50 + ubfactor % of the total.
        objective: what hypergraphs cost, "cut" (weight of nets in two parts or more) or "km1" (each times the parts
            that it reaches less one); of a graph both are the weight of cut edges.
        order: in which `assign` visits nodes: bfs, degree, natural, random.
        moves: `refine` by a short list of "candidates" (moves, and swaps of two nodes where a part is full), or by
            "raw" (node, part) pairs.
        candidates: length of that list. tenure: steps for which a moved node stays off it.
        start: where `refine` starts, "grow" (breadth-first growing; None: so, with raw moves at random), "greedy"
            (greedy growing, cuts less), "random", or the file of a partition, which `fm` and `mtkahypar` improve too;
            `multilevel` begins with that of a file alone, the others are its answer before the first bisection.
        fixed: file of nodes that must stay in a part: on each line a node's part or -1, as hMETIS and KaHyPar read it,
            or lines `id part` for those nodes alone.
        steps: moves in an episode of `refine`, default twice the boundary of the start, at least 16; operators in one
            of `multilevel`, default 200.
        work: what the operators of an episode of `multilevel` may read, in passes of its fixed schedule.
        pe: Laplacian eigenvectors among the node features (0 = none).
        generator: family of `generate`, such as "delaunay:n=300" (a seed is drawn).
        nodes: of an edge list file, where some have no edge; None: those that occur, or what its header says.

    Observation: a hypergraph is observed as the bipartite graph of its nodes and, behind them, its nets, and no action
    concerns a net. A net's weight reads -1, its degree is its pins over their mean, and assigned, internal, external
    and active are the share of pins with a part, in the most frequent part, in the next one, and whether it is cut.
    Node features are weight and degree (each over its mean), `pe` columns, then assigned, internal
    (share of the degree inside the own part), external (largest share in another part), part_load (over L_max),
    active (focused, just moved or fixed). Globals: log10 nodes / 6, log10 edges / 6, log2 k / 6, eps, cut, best (both
    over the total edge weight), max_load (over L_max), progress. `assign` describes each part to the focused node
    by share, load, room, relative_load; `refine` describes each candidate by gain, internal, external, degree,
    from_load, to_load, absolute_gain, moved. `multilevel` shows the input graph, each node as the cluster of the
    present level that it is in (assigned, internal, external, part_load, and cluster: its weight over L_max), among its
    globals level (over 10), level_nodes (log10 / 6), divided (whether there is a partition), cut (of the level), answer
    (what the episode would end with) and work (over the budget), and describes each operator by which one it is
    (cluster, cluster_plain, bisect, search, search_spots, balance, up), scheduled (whether the fixed schedule would use
    it, always the first row), tried (times on this level, over 4), gained (times 10, over the cut) and used (work,
    times 10, over the budget).

    Rewards: see `sysgym.core.rewards`; the scale is the total edge weight, in `refine` and `multilevel` a tenth of the
    starting cut.
    Version history: v0, first release. Before it: candidates have swaps since 2026-11-27, so that a balanced start of
    few nodes has legal moves, and the limit follows what can be packed; hypergraphs, `multilevel` and computation
    graphs since 2026-11-28, and `multilevel` lets go up wherever clusters no longer shrink the graph; weights of `gap`
    of before 2026-11-28 are refused, its network splits into any number of parts since.
    """

    name = "Partitioning"
    version = 0
    variants = (
        {"mode": "oneshot"},
        {"mode": "assign"},
        {"mode": "refine"},
        {"mode": "refine", "moves": "raw"},
        {"mode": "multilevel"},
    )
    recommended_agent = "fm"
    default_instances = "tiny/train"

    mode: Literal["oneshot", "assign", "refine", "multilevel"] = "refine"
    k: Annotated[int, Range(2, 1024)] = 2
    eps: Annotated[float, Range(0, 10)] = 0.03
    ubfactor: Annotated[float | None, Range(0, 50)] = None
    objective: Literal["cut", "km1"] = "cut"
    order: Literal["bfs", "degree", "natural", "random"] = "bfs"
    moves: Literal["candidates", "raw"] = "candidates"
    candidates: Annotated[int, Range(1, 4096)] = 32
    tenure: Annotated[int, Range(0, 10**6)] = 10
    start: Literal["grow", "greedy", "random"] | str | None = None
    fixed: str | None = None
    steps: Annotated[int | None, Range(1, 10**8)] = None
    work: Annotated[float, Range(1, 10**6)] = 2.0
    pe: Annotated[int, Range(0, 64)] = 0
    generator: str = "delaunay:n=64"
    nodes: Annotated[int | None, Range(1, 2**31 - 1)] = None

    def __post_init__(self) -> None:
        check_start(self.start)
        if self.ubfactor is not None and self.k != 2:
            raise UsageError(f"ubfactor is a rule for two parts, k={self.k} were asked for; give eps instead.")

    @cached_property
    def dynamics(self) -> ByKind | Multilevel:
        """The dynamics of the chosen mode (imports numba)."""
        from sysgym.graphs.labels.modes import RefineOptions, Rules
        from sysgym.partitioning.modes import choose_mode

        rules = Rules(self.k, self.limit, slack=self.eps if self.ubfactor is None else self.ubfactor / 50)
        start = self.start or ("random" if self.moves == "raw" else "grow")
        refine = RefineOptions(start, self.steps, self.candidates, self.tenure)
        if self.mode == "multilevel":
            from sysgym.partitioning.multilevel import Multilevel

            return Multilevel(rules, refine, self.work)
        return choose_mode(self.mode, self.moves, self.order, rules, refine, self.objective)

    def load(self, name: Any) -> Graph | Hypergraph:
        """A graph or hypergraph by name, recipe, file or object; UsageError if it cannot be had or is malformed."""
        whole: Any = self
        if isinstance(name, str):
            return with_given(self, load_graph(name, self.nodes))
        if isinstance(name, Graph | Hypergraph):
            return with_given(self, name)
        found: Graph | Hypergraph = instance_of(whole, name)
        return found

    reads = staticmethod(is_graph)

    def adopt(self, given: Any) -> Graph | Hypergraph | None:
        """The graph of an object of networkx, igraph, scipy or numpy; None where it is none."""
        found = adopt_graph(given)
        return None if found is None else with_given(self, found)

    def generate(self, rng: np.random.Generator) -> Graph | Hypergraph:
        """A random graph, or hypergraph, of the `generator` family."""
        joint = "," if ":" in self.generator else ":"
        return generated(f"{self.generator}{joint}seed={int(rng.integers(2**31))}")

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of graphs by name."""
        return load_index(TOPIC)

    def size(self, instance: Graph | Hypergraph) -> Size:
        """Nodes and directed edges; of a hypergraph those of its bipartite graph, in which nets are nodes."""
        instance = instance if isinstance(instance, Graph) else instance.bipartite
        return Size(instance.nodes, len(instance.adjncy))

    def static(self, instance: Graph | Hypergraph) -> Mapping[str, Array]:
        """Features that never change: nodes (n, 2 + pe), edges (2m, 1), edge_index (2, 2m).

        A hypergraph is its bipartite graph: nets follow the nodes, with a weight of -1 and their pins as degree.
        """
        graph = instance if isinstance(instance, Graph) else instance.bipartite
        columns = [
            instance.vwgt / max(float(instance.vwgt.mean()), 1e-9),
            instance.degree / max(float(instance.degree.mean()), 1e-9),
        ]
        if isinstance(instance, Hypergraph):
            mean = max(float(instance.sizes.mean()), 1e-9) if instance.edges else 1.0
            columns = [
                np.concatenate([columns[0], np.full(instance.edges, -1.0)]),
                np.concatenate([columns[1], instance.sizes / mean]),
            ]
        if self.pe:
            from sysgym.graphs.spectral import laplacian_eigenvectors

            columns.extend(laplacian_eigenvectors(graph, self.pe).T)
        weights = graph.adjwgt / max(float(graph.adjwgt.mean()), 1e-9) if len(graph.adjwgt) else graph.adjwgt
        return {
            "nodes": np.clip(np.stack(columns, axis=1), -1e3, 1e3).astype(np.float32),
            "edges": np.clip(weights, 0, 1e3).astype(np.float32)[:, None],
            "edge_index": np.stack([graph.sources, graph.adjncy]).astype(np.int32),
        }

    def solution_arrays(self, instance: Graph | Hypergraph) -> Mapping[str, ArraySpec]:
        """`part`: one id in 0..k-1 a node."""
        return {"part": ArraySpec((instance.nodes,), "int", 0, self.k - 1, "one part id a node")}

    def judge(self, instance: Graph | Hypergraph, solution: Solution) -> Verdict:
        """Cost, feasibility and metrics of a partition; InvalidSolution if it is none. See `judge_partition`."""
        part = check_arrays(self.solution_arrays(instance), solution)["part"]
        self._check_given(instance)
        return judge_partition(instance, part, self.k, self.eps, self.ubfactor, self.objective)

    def canonical(self, instance: Graph | Hypergraph, solution: Solution) -> Solution:
        """The partition with its parts renumbered by their first node: all in which no node is fixed are alike."""
        kinds = np.zeros(self.k, np.int64)
        taken = np.unique(instance.given[instance.given >= 0])
        kinds[taken] = taken + 1
        return {"part": renumbered(solution["part"], kinds)}

    def reference_costs(self, instance: Graph | Hypergraph) -> Mapping[str, float]:
        """Known cuts at this k and balance, `who -> cut`; METIS (k-way, seed 1) first where it is known."""
        entry = find_entry(self.instance_sets(), instance.name) if instance.fixed is None else None
        rule = f"eps={self.eps:g}" if self.ubfactor is None else f"ubfactor={self.ubfactor:g}"
        key = f"k={self.k},{rule}" + (",objective=km1" if self.objective == "km1" and self.k > 2 else "")
        found: Mapping[str, float] = entry.references.get(key, {}) if entry else {}
        return found

    def limit(self, instance: Graph | Hypergraph) -> int:
        """L_max, the largest weight that a part may have."""
        self._check_given(instance)
        return balance_limit(instance, self.k, self.eps, self.ubfactor).weight

    def _check_given(self, graph: Graph | Hypergraph) -> None:
        """UsageError for a graph that was made elsewhere and lacks what the options give beside it."""
        if self.ubfactor is not None and isinstance(graph, Graph):
            raise UsageError(f"ubfactor is a rule of hypergraphs, {graph.name} is a graph; give eps instead.")
        if (self.fixed and graph.fixed is None) or (self.start not in (None, *STARTS) and graph.start is None):
            raise UsageError(
                f"{graph.name} was not loaded with the files of the options fixed and start; give its name or file, or "
                "pass it through problem.load(graph)."
            )

    def parse_solution(self, instance: Graph | Hypergraph, data: bytes, file_name: str) -> Solution:
        """A partition file: one part id a line, or `id part` by the file's own ids; `%` comments; may be gzipped."""
        return {"part": parse_partition(instance, file_name, data)}

    def solution_endings(self, instance: Graph | Hypergraph) -> tuple[str, ...]:
        """`.part`."""
        return (".part",)

    def format_solution(self, instance: Graph | Hypergraph, solution: Solution, file_name: str) -> bytes:
        """The partition as one part id a line, or as `id part` where the graph's file has ids of its own."""
        return format_partition(instance, solution["part"])

    def render(self, instance: Graph | Hypergraph, solution: Solution) -> Array:
        """The graph with coloured parts and the cut edges in black, (H, W, 3) uint8."""
        from sysgym.partitioning.render import draw

        return draw(instance, solution, self.k, self.judge(instance, solution))

    def describe(self, instance: Graph | Hypergraph, solution: Solution) -> str:
        """Cut, balance and the weight of each part as text."""
        from sysgym.partitioning.render import describe

        return describe(instance, solution, self.k, self.eps, self.judge(instance, solution))
