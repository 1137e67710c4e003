"""Functions of torch that stay whole on a tape, where the dispatcher sees their pieces: attention, the RMS norm, and
recurrent layers.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sysgym.core.errors import UsageError
from sysgym_zoo.tools.tracing.moves import tensors_in
from sysgym_zoo.tools.tracing.regions.table import ATTENTION, RECURRENT

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}  # products of a cell


class Wholes(TorchFunctionMode):
    """While it is active, such a function becomes one step of a recorder, and returns tensors without data."""

    def __init__(self, recorder: Any) -> None:
        """Tell a recorder of `sysgym_zoo.tools.tracing.regions.torch_tape`."""
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if name == "scaled_dot_product_attention":
            return self._attention(*args, **kwargs)
        if name == "rms_norm":
            given = args[0] if args else kwargs["input"]
            return self._told("rms_norm", [given], [tuple(given.shape)], given, {})[0]
        if name in GATES:
            return self._recurrent(name, *args, **kwargs)
        if name == "multi_head_attention_forward":  # a mode does not see what such a function calls
            with patch.object(functional, "scaled_dot_product_attention", self._attention):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    @property
    def _where(self) -> str:
        """The module that runs, in words."""
        return f" in {self.recorder.layer}" if self.recorder.layer else ""

    def _told(self, op: str, reads: Any, shapes: Any, like: Any, given: dict[str, Any]) -> list[Any]:
        """Add a step; tensors of what it writes."""
        values = [self.recorder.read(tensor) for tensor in reads]
        found = [torch.empty(shape, dtype=like.dtype) for shape in shapes]
        self.recorder.clock += 1
        new = self.recorder.tape.step(op, values, shapes, layer=self.recorder.layer, given=given)
        for tensor, value in zip(found, new, strict=True):
            self.recorder.bind(tensor, value)
        return found

    def _attention(self, query: Any, key: Any, value: Any, attn_mask: Any = None, *rest: Any, **named: Any) -> Any:
        """Attention; its mask costs nothing."""
        shape = (*query.shape[:-1], value.shape[-1])
        return self._told(ATTENTION, [query, key, value], [shape], query, {})[0]

    def _recurrent(self, name: str, data: Any, *args: Any, **named: Any) -> Any:
        """An LSTM, GRU or RNN of several layers, forward or both ways."""
        if named or not isinstance(args[1], list):  # lengths come before the state: a packed sequence
            raise UsageError(f"{name} of packed sequences{self._where} has no fixed sizes; give it padded ones.")
        start, weights, _, layers, _, _, both, batch_first = args
        ways, states = 1 + bool(both), list(tensors_in(start))
        hidden = int(states[0].shape[-1])
        if int(weights[1].shape[1]) != int(weights[1].shape[0]) // GATES[name]:
            raise UsageError(f"{name} with projections{self._where} has no place in a region; take them out.")
        axis = data.dim() - 2 if batch_first else 0
        given = {
            "cell": name, "layers": int(layers), "ways": ways, "hidden": hidden, "steps": int(data.shape[axis]),
            "rows": int(data.numel()) // max(1, int(data.shape[axis] * data.shape[-1])),
        }  # fmt: skip
        out = (*data.shape[:-1], ways * hidden)
        found = self._told(RECURRENT, [data], [out, *(tuple(state.shape) for state in states)], data, given)
        return tuple(found)
