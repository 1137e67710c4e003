"""What must be still while a module is recorded: chance, running statistics, and shortcuts of one kind of device.

Dropout passes its input on, batch normalisation leaves its running statistics alone, attention is spelt out (products
and a softmax), and recurrent layers are unrolled, whatever machine the recording runs on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

DROPPING = frozenset({
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "alpha_dropout_",
    "feature_dropout", "feature_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_",
})  # fmt: skip
ATTENTION = "scaled_dot_product_attention"
DROPOUT_OF_ATTENTION = 4  # its position among the arguments


class NoDropout(TorchFunctionMode):
    """Dropout returns its input; attention drops nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if name in DROPPING:
            return args[0] if args else kwargs["input"]
        if name == ATTENTION:
            if len(args) > DROPOUT_OF_ATTENTION:
                args = (*args[:DROPOUT_OF_ATTENTION], 0.0, *args[DROPOUT_OF_ATTENTION + 1 :])
            elif "dropout_p" in kwargs:
                kwargs["dropout_p"] = 0.0
        return func(*args, **kwargs)


def _settings(module: Any, train: bool) -> Iterator[tuple[Any, str, Any]]:
    """What to change in the modules: (module, attribute, value)."""
    for each in module.modules():
        yield each, "training", train
        if train and isinstance(each, _NormBase):
            yield each, "track_running_stats", False
        if isinstance(each, nn.RNNBase | nn.MultiheadAttention):
            yield each, "dropout", 0.0


@contextmanager
def quiet(module: Any, train: bool) -> Iterator[None]:
    """Hold all of this still for as long as it is open, and put it back."""
    before = [(each, name, getattr(each, name)) for each, name, _ in _settings(module, train)]
    log = logging.getLogger("torch._subclasses.fake_tensor")  # it writes a traceback before it raises
    before.append((log, "disabled", log.disabled))
    log.disabled = True
    fast, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    for each, name, value in list(_settings(module, train)):
        setattr(each, name, value)
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), NoDropout():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(mkldnn)
        for each, name, value in before:
            setattr(each, name, value)
