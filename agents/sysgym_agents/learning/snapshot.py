"""The state of a training between two steps as plain data: tensors and JSON, never a pickle. Imports torch."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from sysgym.core.errors import UsageError
from sysgym.core.solutions import read_json
from sysgym_agents.learning.weights import MOST_BYTES, load_tensors

FACTS, TENSORS = "training.json", "training.safetensors"
MOST_STEPS = 1e15  # of an optimiser


class Snapshot(NamedTuple):
    """Tensors by name, and facts that JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write `training.json` and `training.safetensors` into a folder."""
        (folder / FACTS).write_text(json.dumps(self.facts) + "\n")
        save_file({name: value.cpu().contiguous() for name, value in self.tensors.items()}, folder / TENSORS)

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read what `save` wrote; UsageError if it is no such thing."""
        try:
            found = cls(load_tensors(folder / TENSORS), read_json(folder / FACTS, MOST_BYTES))
        except UsageError as error:
            why = str(error).rstrip(".")
            raise UsageError(
                f"{folder} holds no state of a training that could go on ({why}); start anew with another folder."
            ) from error
        if not isinstance(found.facts, dict):
            raise UsageError(f"{folder}/{FACTS} is no object; start anew with another folder.")
        return found

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def learner_tensors(module: torch.nn.Module, optimiser: torch.optim.Optimizer, prefix: str = "") -> dict[str, Tensor]:
    """Copies of a network's weights and of its optimiser's state, by name, on the CPU."""
    found = {f"{prefix}weights/{key}": value.detach().cpu().clone() for key, value in module.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        found |= {f"{prefix}optimiser/{index}/{key}": value.detach().cpu().clone() for key, value in state.items()}
    return found


def put_learner(
    snapshot: Snapshot, module: torch.nn.Module, optimiser: torch.optim.Optimizer, prefix: str = ""
) -> None:
    """The counterpart of `learner_tensors`; the optimiser keeps its own settings. ValueError where they do not fit."""
    module.load_state_dict(snapshot.part(f"{prefix}weights/"))
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in snapshot.part(f"{prefix}optimiser/").items():
        index, key = name.split("/")
        states.setdefault(int(index), {})[key] = value
    _check_states(states, optimiser)
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})


def _check_states(states: dict[int, dict[str, Tensor]], optimiser: torch.optim.Optimizer) -> None:
    """ValueError unless each state has the names that this kind of optimiser keeps, in the shape of its parameter."""
    parameters = [value for group in optimiser.param_groups for value in group["params"]]
    known = inspect.signature(type(optimiser)).parameters
    settings = {key: value for key, value in optimiser.param_groups[0].items() if key in known and key != "params"}
    probe = torch.zeros(1, requires_grad=True)
    probe.grad = torch.ones(1)
    twin = type(optimiser)([probe], **settings)
    twin.step()
    wanted = {key: value.ndim > 0 for key, value in twin.state[probe].items()}
    for index, state in states.items():
        if not 0 <= index < len(parameters) or set(state) != set(wanted):
            raise ValueError(f"the state of parameter {index} has {sorted(state)}, expected {sorted(wanted)}")
        for key, like in wanted.items():
            if state[key].shape != (parameters[index].shape if like else torch.Size([])):
                raise ValueError(f"{key} of parameter {index} has the shape {tuple(state[key].shape)}")
            if not like and not 0 <= float(state[key]) <= MOST_STEPS:
                raise ValueError(f"{key} of parameter {index} is {float(state[key]):g}, expected 0 to {MOST_STEPS:g}")
