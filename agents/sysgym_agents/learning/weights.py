"""Weights of learners on disk: `agent.json` describes the agent, `model.safetensors` holds the numbers. No pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sysgym.core.errors import UsageError, reading, shortened
from sysgym.core.solutions import read_json

MOST_BYTES = 2**24  # of a description
LARGEST = 1e6  # of a weight
Net = TypeVar("Net", bound=torch.nn.Module)


def save_agent(path: Path, name: str, description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write both files into a folder; `description` is plain data."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "agent.json").write_text(json.dumps({"agent": name, **description}, indent=1) + "\n")
    save_file({key: value.cpu().contiguous() for key, value in weights.items()}, str(path / "model.safetensors"))


def load_agent(path: Path, name: str, former: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and weights of a folder; UsageError if they are missing, damaged or another agent's.

    Folders of an agent that had another name then say so by one of the `former` ones, as "agent" or "algorithm".
    """
    where = f"{path} holds no weights of agent {name!r}"
    found = _description(path / "agent.json", where)
    if found.get("agent", found.get("algorithm")) not in (name, *former) or not isinstance(found.get("hyper"), dict):
        raise UsageError(
            f"{where}: agent.json must be an object that names this agent and its 'hyper'; train and save it again."
        )
    try:
        weights = load_tensors(path / "model.safetensors")
        with reading("model.safetensors"):
            large = [bool((each.abs() > LARGEST).any()) for each in weights.values() if each.is_floating_point()]
        if any(large):
            raise UsageError(f"model.safetensors holds weights beyond {LARGEST:g}, those of a training that diverged.")
        return found, weights
    except UsageError as error:
        raise UsageError(f"{where}: {str(error).rstrip('.')}; train the agent again.") from error


def _description(file: Path, where: str) -> dict[str, Any]:
    """The object in an `agent.json`; an empty one where it holds something else."""
    try:
        found = read_json(file, MOST_BYTES)
    except UsageError as error:
        why = str(error).removeprefix(f"{file} ").removeprefix(f"{file}: ").rstrip(".")
        raise UsageError(f"{where}: {file.name}: {why}; give the folder of a trained agent.") from error
    return found if isinstance(found, dict) else {}


def load_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UsageError if it is damaged or holds a number that is not finite."""
    if not file.is_file():
        raise UsageError(f"{file.name} cannot be read: there is no such file.")
    with reading(file.name):
        found: dict[str, Tensor] = load_file(file)
        for name, tensor in found.items():
            if tensor.is_complex() or not bool(tensor.isfinite().all()):
                raise UsageError(f"{file.name} holds numbers that are not finite, under {shortened(name, 80)!r}.")
    return found


def check_sizes(hyper: Mapping[str, Any], weights: Mapping[str, Tensor], names: tuple[str, ...], path: Path) -> None:
    """UsageError if a size of a network is larger than its weights are wide and many: before it is built."""
    most = max([len(weights), *(side for tensor in weights.values() for side in tensor.shape)])
    for name in names:
        if hyper.get(name, 0) > most:
            raise UsageError(
                f"{path}: model.safetensors does not fit agent.json, which says {name}={hyper[name]}; save the agent "
                "again."
            )


def filled(make: Callable[[], Net], weights: Mapping[str, Tensor], path: Path) -> Net:
    """A network with given weights; UsageError if they do not fit it, before memory is taken for it."""
    unfit = f"{path}: model.safetensors does not fit agent.json; save the agent again."
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        shapes = {name: value.shape for name, value in make().state_dict().items()}
    if shapes != {name: value.shape for name, value in weights.items()}:
        raise UsageError(unfit)
    net = make()
    with reading(path):
        net.load_state_dict(dict(weights))
    return net
