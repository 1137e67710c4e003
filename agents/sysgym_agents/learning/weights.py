"""Weights of learners on disk: `agent.json` describes the agent, `model.safetensors` holds the numbers. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sysgym.core.errors import UsageError


def save_agent(path: Path, name: str, description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write both files into a folder; `description` is plain data."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "agent.json").write_text(json.dumps({"agent": name, **description}, indent=1) + "\n")
    save_file({key: value.contiguous() for key, value in weights.items()}, str(path / "model.safetensors"))


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
        weights = load_file(path / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        why = str(error).rstrip(". ")
        raise UsageError(f"{where}: {why}; train the agent again.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise UsageError(f"{path}: model.safetensors holds numbers that are not finite; train the agent again.")
    return found, weights


def _description(file: Path, where: str) -> dict[str, Any]:
    """The object in an `agent.json`; an empty one where it holds something else."""
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{where}: {file.name} cannot be read ({why}); give the folder of a trained agent.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {file.name} is no valid JSON; train and save the agent again.") from error
    return found if isinstance(found, dict) else {}


def fill(net: torch.nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a network; UsageError if they do not fit it."""
    try:
        net.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise UsageError(f"{path}: model.safetensors does not fit agent.json; save the agent again.") from error
