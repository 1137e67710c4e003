"""The instances that an environment plays, their static arrays and the padded size that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.instances import expand, instance_of
from sysgym.core.observation import first_legal, pad_static, static_arrays
from sysgym.core.problem import AnyProblem, Array, Instance, Size


class InstancePool:
    """Instances by position. Those that `reset` names later are kept behind the first `sampled`, never sampled."""

    def __init__(
        self, problem: AnyProblem, one: Any, many: Any, form: str, max_nodes: int | None, max_edges: int | None
    ) -> None:
        self.problem, self.form = problem, form
        names = _names(problem, one, many)
        self.items: list[Instance] = [instance_of(problem, name) for name in names]
        if not self.items:
            raise UsageError("`instances` is empty; give a set such as 'tiny/train' or instance names.")
        sizes = [problem.size(item) for item in self.items]
        self.size = Size(
            max(1, *(size.nodes for size in sizes)) if max_nodes is None else max_nodes,
            max(1, *(size.edges for size in sizes)) if max_edges is None else max_edges,
            tuple(max(counts) for counts in zip_longest(*(size.choices for size in sizes), fillvalue=1)),
        )
        for item in self.items:
            self._check(item)
        self.sampled = len(self.items)
        self._static: dict[int, dict[str, Array]] = {}
        self._metrics: tuple[str, ...] | None = None
        # the widths of the static arrays are the same for all instances; the smallest one shows them
        smallest = min(range(len(sizes)), key=lambda i: sizes[i].edges)
        self.example = static_arrays(problem, self.items[smallest]) if form != "raw" else {}

    def _check(self, instance: Instance) -> None:
        size = self.problem.size(instance)
        if size.nodes > self.size.nodes or size.edges > self.size.edges:
            raise UsageError(
                f"instance {instance.name!r} has {size.nodes} nodes and {size.edges} directed edges, this environment "
                f"is padded to {self.size.nodes} and {self.size.edges}; pass larger max_nodes and max_edges."
            )
        for place, (mine, padded) in enumerate(zip_longest(size.choices, self.size.choices, fillvalue=1)):
            if mine > padded:
                what = [*self.problem.choice_names, *["choices"] * len(size.choices)][place]
                raise UsageError(
                    f"instance {instance.name!r} has {mine} {what}, this environment is padded to {padded}; name the "
                    "instance among `instances` when it is made."
                )

    def index(self, name: Any) -> int:
        """Position of an instance by name or object, loading it if it is new."""
        for position, item in enumerate(self.items):
            if item is name or (isinstance(name, str) and item.name == name):
                return position
        item = instance_of(self.problem, name)
        self._check(item)
        self.items.append(item)
        return len(self.items) - 1

    def padded(self, position: int) -> dict[str, Array]:
        """Static arrays of one instance, padded; computed once. Empty in raw form."""
        if self.form == "raw":
            return {}
        return self.padded_graph(position)

    def padded_graph(self, position: int) -> dict[str, Array]:
        """Static arrays of one instance in whatever form; do not write into them."""
        if position not in self._static:
            self._static[position] = pad_static(static_arrays(self.problem, self.items[position]), self.size)
        return self._static[position]

    def metrics(self, instance: Instance, state: Any) -> tuple[str, ...]:
        """Names of the metrics of every verdict: those of the first state that is asked about.

        Where its answer cannot be judged yet, the episode is played to its end, always by the first legal action.
        """
        if self._metrics is None:
            dynamics = self.problem.dynamics
            try:
                verdict = self.problem.judge(instance, dynamics.solution(instance, state))
            except InvalidSolution:
                space, state = dynamics.action_space(self.size), dynamics.copy(state)
                while not dynamics.done(instance, state):
                    action = first_legal(space, dynamics.mask(instance, state, self.size))
                    state = dynamics.step(instance, state, action)
                verdict = self.problem.judge(instance, dynamics.solution(instance, state))
            self._metrics = tuple(verdict.metrics)
        return self._metrics


def _names(problem: AnyProblem, one: Any, many: Any) -> list[Any]:
    """The names and objects that `instance` and `instances` stand for."""
    if one is not None and many is not None:
        raise UsageError("give `instance` (one) or `instances` (a set to sample from), not both.")
    found: list[Any]
    if one is not None:
        found = [one]
    elif many is None:
        found = expand(problem.instance_sets(), problem.default_instances)
    elif isinstance(many, str) or (isinstance(many, Sequence) and all(isinstance(item, str) for item in many)):
        found = expand(problem.instance_sets(), many, problem.reads)
    elif isinstance(many, Sequence):
        found = list(many)
    else:
        raise UsageError(f"`instances` must be a set's name or a list of instances, got {many!r}.")
    return found
