"""The peak of memory of traced graphs against the storages that are alive in an eager run of the same step."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.rules import Rules
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module
from sysgym_zoo.tools.tracing.quiet import quiet


class Alive(TorchDispatchMode):
    """Counts the bytes of the storages alive while it is open, and the most of them."""

    def __init__(self, held: list[Any]) -> None:
        super().__init__()
        self.known = {each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in held}
        self.most = sum(self.known.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and note its storages."""
        out = func(*args, **(kwargs or {}))
        for each in pytree.tree_leaves(out):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                if storage._cdata not in self.known:
                    self.known[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.known.pop, storage._cdata, None)
        self.most = max(self.most, sum(self.known.values()))
        return out


X = torch.rand
MODULES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mlp": (nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 64)), (X(512, 256),)),
    "picture": (
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(True), nn.Conv2d(16, 32, 3), nn.MaxPool2d(2)),
        (X(4, 3, 32, 32),),
    ),
    "encoder": (nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0), (X(4, 64, 64),)),
    "norm": (nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 4, 3)), (X(4, 4, 24, 24),)),
    "lstm": (nn.LSTM(32, 64), (X(20, 16, 32),)),
}


@pytest.mark.parametrize("name", MODULES)
def test_peak_of_a_training_step(name: str) -> None:
    module, inputs = MODULES[name]
    job = Job(trace_module(module, inputs, Heading(name, 1, train=True)), Rules())
    peak = int(job.score(job.single).outcome.peak_bytes.max())
    alive = Alive([*module.parameters(), *module.buffers(), *inputs])
    with quiet(module, True), alive:  # recurrent layers and attention are spelt out, as they are traced
        loss = sum(each.sum() for each in pytree.tree_leaves(module(*inputs)))
        torch.autograd.grad(loss, list(module.parameters()))
    assert peak == pytest.approx(alive.most, rel=0.2)
