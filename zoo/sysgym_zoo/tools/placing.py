"""A placement, applied to the module of torch that its graph was traced from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.utils import _pytree as pytree

from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import AnyProblem, Array, Solution, Verdict
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_zoo.tools.tracing.packed import unwrapped

SHOWN = 3  # modules that a sentence names


@dataclass
class Placed:
    """What became of a placement: `applied` is the verdict on the module as it now runs, `asked` that on the answer."""

    devices: dict[str, torch.device]  # of each module that computes or holds something, by its path
    solution: dict[str, Array]  # the answer as it is applied
    moved: int  # operators that follow their module to another device than the answer asks for
    asked: Verdict
    applied: Verdict
    hooks: list[Any] = field(default_factory=list, repr=False)

    def remove(self) -> None:
        """Take the hooks away; parameters stay where they are."""
        while self.hooks:
            self.hooks.pop().remove()


def apply_placement(
    module: Any, graph: DataflowGraph | str | Path, solution: Solution | str | Path,
    devices: Sequence[str | torch.device] = ("cuda:0", "cuda:1"), problem: AnyProblem | None = None,
) -> Placed:  # fmt: skip
    """Put every part of a module on its device of a placement, and let tensors follow: hooks move what a part reads.

    `graph` and `solution` are files of `sysgym trace` and `sysgym solve`, or what was read from them; `devices` are the
    devices of torch that stand for 0, 1, ... of the placement; `problem` prices it, by default the one that the file of
    the solution names, else `DevicePlacement` with its defaults.

    A module of torch runs on one device, and so do modules that read each other's parameters: the device where the
    placement spends most of their time. A module that computes something between its children gets their outputs back
    on its own device, a detour that the simulation does not know. What differs from the placement is announced, with
    the simulated cost of both. UsageError if the graph is not one of this module, or a device cannot be used.
    """
    module, problem = unwrapped(module), problem or _problem_of(graph, solution)
    graph = graph if isinstance(graph, DataflowGraph) else problem.load(str(graph))
    owners, answer = _owners(module, graph), _answer(problem, graph, solution)
    asked = problem.judge(graph, answer)
    if "placement" not in answer:
        raise UsageError(f"the solution holds {', '.join(answer)} and no placement; solve for the task placement too.")
    placement = np.asarray(answer["placement"], np.int64)
    targets = _targets(devices, int(placement.max()) + 1)
    chosen = by_module(graph, placement)
    applied = {**answer, "placement": chosen[graph.module]}
    moved = (applied["placement"] != placement) & (graph.time_ns > 0)
    found = Placed(
        {path: targets[device] for path, device in zip(graph.modules, chosen.tolist(), strict=True)},
        applied, int(moved.sum()), asked, problem.judge(graph, applied),
    )  # fmt: skip
    for sentence in _remarks(graph, found, moved):
        announce(sentence)
    found.hooks += _hooked([(owners[path], device) for path, device in found.devices.items()])
    return found


def by_module(graph: DataflowGraph, placement: Array) -> Array:
    """The device of each of the graph's modules, (M,) int64: where the placement spends most of its time, or keeps most
    of its bytes if it takes none. Modules that read each other's parameters share one.
    """
    count = len(graph.modules)
    reads = np.isin(graph.op[graph.edge_src], np.flatnonzero(np.array(graph.op_types) == "param"))
    pairs = graph.module[graph.edge_src[reads]], graph.module[graph.edge_dst[reads]]
    links = coo_array((np.ones(len(pairs[0])), pairs), shape=(count, count))
    groups, group = connected_components(links, directed=False)
    spent, held = np.zeros((2, groups, int(placement.max()) + 1))
    at = group[graph.module], placement
    np.add.at(spent, at, graph.time_ns)
    np.add.at(held, at, graph.param_bytes)
    return np.asarray(np.where(spent.any(1, keepdims=True), spent, held).argmax(1)[group], np.int64)


def _problem_of(graph: Any, solution: Any) -> AnyProblem:
    """The problem and options that a file of a solution names, else device placement with its defaults."""
    from sysgym.device_placement.problem import DevicePlacement
    from sysgym_zoo.lookup.finding import Clues
    from sysgym_zoo.lookup.resolve import find_and_build

    file = Path(solution) if isinstance(solution, str | Path) else None
    usual = None if file else DevicePlacement.name
    clues = Clues(usual, (), "", [] if isinstance(graph, DataflowGraph) else [str(graph)], file, [])
    built: AnyProblem = find_and_build(clues)
    return built


def _answer(problem: AnyProblem, graph: DataflowGraph, solution: Any) -> dict[str, Array]:
    """The arrays of a solution, or of the file that holds it."""
    from sysgym.core.solutions import check_arrays, read_solution

    if isinstance(solution, str | Path):
        return read_solution(problem, graph, solution)
    return check_arrays(problem.solution_arrays(graph), solution)


def _targets(devices: Sequence[str | torch.device], needed: int) -> list[torch.device]:
    """The devices of torch; UsageError if they are too few or one is not there."""
    if isinstance(devices, str | torch.device):
        raise UsageError(f"devices must be a list, such as ['cuda:0', 'cuda:1'], got {str(devices)!r}.")
    if len(devices) < needed:
        raise UsageError(f"the placement uses {needed} devices; give that many, such as ('cuda:0', 'cuda:1').")
    found = []
    for device in devices:
        try:
            found.append(torch.empty(0, device=device).device)
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or ["unknown"])[0].rstrip(".")
            raise UsageError(f"torch cannot use the device {str(device)!r}: {reason}.") from error
    return found


def _owners(module: Any, graph: DataflowGraph) -> dict[str, Any]:
    """The modules of a model by their path; UsageError unless all of the graph's are there."""
    if not len(graph.module):
        raise UsageError(f"{graph.name} does not say which modules its operators are from; trace the model again.")
    found = dict(module.named_modules())
    missing = [path for path in graph.modules if path not in found]
    if missing:
        raise UsageError(
            f"{graph.name} has operators of a module {missing[0]!r}, which {type(module).__name__} does not have; "
            "apply the placement to the model that was traced."
        )
    if any(tensor.is_meta for path in graph.modules for tensor in found[path].parameters(recurse=False)):
        raise UsageError(
            f"{type(module).__name__} has parameters without data, on the device meta; load its weights first, or take "
            "module.to_empty(device='cpu')."
        )
    return found


def _remarks(graph: DataflowGraph, found: Placed, moved: Array) -> Iterator[str]:
    """How what is applied differs from what was asked for."""
    cost = f"the simulated cost is {found.applied.cost:.6g} ns as applied, {found.asked.cost:.6g} ns as asked for"
    if found.moved:
        split = [graph.modules[row] or "the whole" for row in np.unique(graph.module[moved]).tolist()]
        names = ", ".join(split[:SHOWN]) + (f" and {len(split) - SHOWN} more" if len(split) > SHOWN else "")
        yield (
            f"{found.moved} of {int((graph.time_ns > 0).sum())} operators follow their module to another device than "
            f"the placement asks for (modules: {names}), for a module runs on one device; {cost}."
        )
    if not found.applied.feasible:
        yield f"the placement as applied does not fit: {'; '.join(found.applied.violations)}."
    others = [key for key in found.solution if key != "placement"]
    if others:
        yield f"{' and '.join(others)} are not applied: torch runs operators one by one, in the order of the program."


def _hooked(parts: Sequence[tuple[Any, torch.device]]) -> list[Any]:
    """Move the parameters and buffers of each module itself to its device; the handles of hooks that move its inputs
    there, and its outputs to the device of the module that called it.
    """
    running: list[torch.device] = []  # the devices of the modules that run, the innermost last

    def enter(device: torch.device) -> Any:
        def hook(_: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
            running.append(device)
            return _sent((args, kwargs), device)

        return hook

    def leave(_: Any, args: Any, out: Any) -> Any:
        running.pop()
        return _sent(out, running[-1]) if running else out

    hooks = []
    for module, device in parts:
        module._apply(lambda tensor, device=device: tensor.to(device), recurse=False)
        hooks.append(module.register_forward_pre_hook(enter(device), with_kwargs=True))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    return hooks


def _sent(values: Any, device: torch.device) -> Any:
    """Tensors in lists, tuples and dicts, on a device."""
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), values)
