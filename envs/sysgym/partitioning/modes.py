"""The action modes of partitioning: labels that cost the cut, no part above its limit, on graphs and on hypergraphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size
from sysgym.graphs.csr import Graph
from sysgym.graphs.labels.modes import Assign, LabelMode, OneShot, RefineCandidates, RefineOptions, RefineRaw, Rules
from sysgym.graphs.labels.nets import NetAssign, NetOneShot, NetRefineCandidates, NetRefineRaw


def choose_mode(mode: str, moves: str, order: str, rules: Rules, refine: RefineOptions, objective: str) -> ByKind:
    """The dynamics of a mode but `multilevel`, by the options of the problem."""
    km1 = objective == "km1"
    if mode == "oneshot":
        return ByKind(OneShot(rules), NetOneShot(rules, km1))
    if mode == "assign":
        return ByKind(Assign(rules, order), NetAssign(rules, order, km1))
    if moves == "raw":
        return ByKind(RefineRaw(rules, refine), NetRefineRaw(rules, refine, km1))
    return ByKind(RefineCandidates(rules, refine), NetRefineCandidates(rules, refine, km1))


def _forwarded(name: str) -> Callable[..., Any]:
    """A method that the mode of the instance has, which is the first argument."""

    def method(self: ByKind, instance: Any, *arguments: Any, **keywords: Any) -> Any:
        return getattr(self.of(instance), name)(instance, *arguments, **keywords)

    method.__doc__ = f"`{name}` of the mode for the kind of instance."
    return method


class ByKind:
    """A mode for graphs and its like for hypergraphs, whose actions and features are the same."""

    state_features: tuple[str, ...] = ()

    def __init__(self, graphs: LabelMode, nets: LabelMode) -> None:
        self.graphs, self.nets = graphs, nets
        self.node_features, self.global_features = graphs.node_features, graphs.global_features
        self.candidate_features = graphs.candidate_features

    def of(self, instance: Any) -> Any:
        """The mode for an instance."""
        return self.graphs if isinstance(instance, Graph) else self.nets

    start, step, mask, legal, done = map(_forwarded, ("start", "step", "mask", "legal", "done"))
    solution, cost, scale = map(_forwarded, ("solution", "cost", "scale"))
    nodes, globals, focus, candidates, state_vector = map(
        _forwarded, ("nodes", "globals", "focus", "candidates", "state_vector")
    )

    def action_space(self, size: Size) -> Any:
        """That of both."""
        mode: Any = self.graphs
        return mode.action_space(size)

    def copy(self, state: Any) -> Any:
        """Fork a state."""
        return self.graphs.copy(state)

    def batch(self, num_envs: int, size: Size) -> KindBatch:
        """Episodes side by side."""
        return KindBatch(self, num_envs, size)


class KindBatch:
    """The batch of the kind of instance that is put in first."""

    def __init__(self, modes: ByKind, num_envs: int, size: Size) -> None:
        self.modes, self.num_envs, self.size = modes, num_envs, size
        self.mode: Any = None
        self.batch: Any = None

    def put(self, row: int, instance: Any, state: Any) -> None:
        """Place an episode in a row; UsageError for the other kind than the first one."""
        mode = self.modes.of(instance)
        if self.mode is None:
            self.mode, self.batch = mode, mode.batch(self.num_envs, self.size)
        if mode is not self.mode:
            raise UsageError(
                f"{instance.name}: a vector environment plays graphs or hypergraphs, this one began with the other "
                "kind; make one for each."
            )
        self.batch.put(row, instance, state)

    @property
    def rows(self) -> Any:
        """The arrays of all rows by name, of a batch of graphs."""
        return self.batch.rows

    def state(self, row: int) -> Any:
        """The state of a row."""
        return self.batch.state(row)

    def costs(self) -> Array:
        """Running costs, (B,) float64."""
        found: Array = self.batch.costs()
        return found

    def legal(self, actions: Array) -> Array:
        """Which rows' actions are legal, (B,) bool."""
        found: Array = self.batch.legal(actions)
        return found

    def step(self, actions: Array, live: Array) -> None:
        """Step the live rows."""
        self.batch.step(actions, live)

    def done(self) -> Array:
        """Which rows are over, (B,) bool."""
        found: Array = self.batch.done()
        return found

    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """See `sysgym.core.problem.Batch`."""
        found: dict[str, Array] = self.batch.observe(nodes, column)
        return found
