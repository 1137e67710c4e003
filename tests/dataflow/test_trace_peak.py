"""The peak of memory of traced graphs against the storages that are alive in an eager run of the same step."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch_modules import MODULES

from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.rules import Rules
from sysgym_zoo.tools.tracing.build import Heading
from sysgym_zoo.tools.tracing.capture import trace_module
from sysgym_zoo.tools.tracing.quiet import quiet


def storages(things: Any) -> dict[int, Any]:
    """The storages behind the tensors in a structure, by what names them."""
    found = [each.untyped_storage() for each in pytree.tree_leaves(things) if isinstance(each, torch.Tensor)]
    return {each._cdata: each for each in found}


class Alive(TorchDispatchMode):
    """The bytes of the storages alive after each operator, and which inputs it read: as in the simulator, an input is
    there until it was last read, though a caller in Python holds it.
    """

    def __init__(self, held: list[Any], inputs: Any) -> None:
        super().__init__()
        self.inputs = {key: each.nbytes() for key, each in storages(inputs).items()}
        self.known = {key: each.nbytes() for key, each in storages(held).items()}
        self.log = [(sum(self.known.values()), set(self.inputs))]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and note its storages."""
        out = func(*args, **(kwargs or {}))
        for key, storage in storages(out).items():
            if key not in self.known and key not in self.inputs:
                self.known[key] = storage.nbytes()
                weakref.finalize(storage, self.known.pop, key, None)
        read = set(storages((args, kwargs))) & set(self.inputs)
        self.log.append((sum(self.known.values()), read))
        return out

    @property
    def most(self) -> int:
        """Bytes at the peak."""
        ahead: set[int] = set()
        found = 0
        for size, read in reversed(self.log):
            ahead |= read
            found = max(found, size + sum(self.inputs[key] for key in ahead))
        return found


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_peak_in_the_traced_order(name: str, train: bool) -> None:
    module, inputs = MODULES[name]
    graph = trace_module(module, inputs, Heading(name, 1, train=train))
    job = Job(graph, Rules())
    in_order = np.arange(graph.nodes)[::-1].copy()
    peak = int(job.score(job.single, in_order).outcome.peak_bytes.max())
    alive = Alive([*module.parameters(), *module.buffers()], inputs)
    with quiet(module, train), torch.set_grad_enabled(train), alive:  # recurrent layers and attention are spelt out
        out = module(*inputs)
        if train:
            loss = sum(each.sum() for each in pytree.tree_leaves(out) if each.requires_grad)
            del out
            torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    assert peak == pytest.approx(alive.most, rel=0.2)
