"""On which device networks are trained and asked: a setting of the process, like its threads, not of an agent.

`device_for` says where a problem of some size is computed. Environments and simulators stay on the CPU and its threads.
What decides a result is drawn on the CPU and moved, so that a training takes the same course everywhere, but for what
devices round differently; what is written to disk is on the CPU. Imports torch inside functions only.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeVar

from sysgym.core.errors import UsageError, unknown
from sysgym.resources import threads

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEVICES = ("auto", "cpu", "cuda")
PAYS = 2**14  # rows of features (nodes times observations or samples) from which `auto` takes a GPU
# Measured on an H200 against one core of its host: attention over 52,313 operators 136 times as fast, message passing
# over 200,000 nodes 206 times, a policy that plays 128 graphs of 256 nodes 9 times; layer-level graphs of 73 to 89
# units, up to 64 samples of each, no faster.

Net = TypeVar("Net", bound="nn.Module")
_wish = ["auto"]  # what `use` was told last
_used: set[str] = set()  # kinds of devices that were given out since


def use(wish: str) -> None:
    """Compute on "cpu", on "cuda", or from PAYS rows on on "cuda" where there is one ("auto", which holds before).

    UsageError for another word, and for "cuda" where torch finds none.
    """
    check(wish)
    if wish == "cuda" and accelerator() is None:
        raise UsageError(f"device 'cuda' was asked for, and {finding()}; use --device cpu or auto.")
    _wish[:] = [wish]
    _used.clear()


def check(wish: str) -> None:
    """UsageError for a word that names no device."""
    if wish not in DEVICES:
        raise unknown("device", wish, DEVICES)


@contextmanager
def using(wish: str) -> Iterator[None]:
    """`use` within; what was asked for and used before counts again behind."""
    before, used = _wish[0], set(_used)
    try:
        use(wish)
        yield
    finally:
        _wish[:] = [before]
        _used.clear()
        _used.update(used)


def accelerator() -> torch.device | None:
    """The GPU that torch finds, with its products in full float32 precision; None where there is none."""
    import torch

    if not torch.cuda.is_available():
        return None
    with warnings.catch_warnings():  # the newer switches break who reads the older ones, which warned for a while
        warnings.filterwarnings(
            "ignore", message="Please use the new API settings to control TF32", category=UserWarning
        )
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda", torch.cuda.current_device())


def device_for(rows: float) -> torch.device:
    """Where to compute on so many rows of features: nodes times the observations or samples of a pass."""
    import torch

    found = accelerator() if _wish[0] == "cuda" or (_wish[0] == "auto" and rows >= PAYS) else None
    device = torch.device("cpu") if found is None else found
    _used.add(device.type)
    return device


def described() -> dict[str, Any]:
    """What `use` was told and which device was used since, as a record keeps it.

    `reproducible` says whether the same seed gives the same bits there again: on the CPU it does with as many threads;
    on a GPU sums are taken in the order in which its threads come.

    >>> with using("cpu"):
    ...     described()["device"], described()["reproducible"]
    ('cpu', True)
    """
    away = sorted(_used - {"cpu"})
    if not away:
        return {"asked": _wish[0], "device": "cpu", "threads": threads(), "reproducible": True}
    return {"asked": _wish[0], "device": away[0], "name": named(away[0]), "threads": threads(), "reproducible": False}


def told(facts: dict[str, Any]) -> str:
    """A line about a description, '' where it is the CPU and nobody asked for it."""
    if facts["device"] != "cpu":
        return f"device: {facts['device']} ({facts['name']}); the same seed may give other results there each time."
    why = "" if facts["asked"] == "cpu" else ", as no network was asked"
    return "" if facts["asked"] == "auto" else f"device: cpu{why}; {facts['threads']} thread(s)."


def named(kind: str) -> str:
    """A name of the device of a kind, such as the GPU's own."""
    import torch

    return str(torch.cuda.get_device_name()) if kind == "cuda" else kind


def finding() -> str:
    """What torch says about CUDA.

    >>> finding().startswith("torch ")
    True
    """
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    device = accelerator()
    found = "no device" if device is None else f"{device} ({named(device.type)})"
    return f"torch {torch.__version__} for CUDA {torch.version.cuda} finds {found}"


def of(net: nn.Module) -> torch.device:
    """Where the weights of a network are."""
    return next(net.parameters()).device


def placed(net: Net, device: torch.device) -> Net:
    """A network on a device: itself where it is there, else a copy, as it may be in training where it is."""
    return net if of(net) == device else deepcopy(net).to(device)


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """The weights of a network by name, on the CPU: there they are the network's own."""
    return {name: value.detach().cpu() for name, value in net.state_dict().items()}


def drawn(shares: Tensor, count: int, generator: torch.Generator | None = None, *, again: bool = False) -> Tensor:
    """`count` columns of each row of shares (R, C), (R, count) int64 on its device, drawn on the CPU.

    again: whether a column may be drawn again.
    """
    import torch

    return torch.multinomial(shares.cpu(), count, again, generator=generator).to(shares.device)


def dropped(x: Tensor, share: float) -> Tensor:
    """Dropout of a share of the numbers, by torch's generator of the CPU."""
    import torch

    if x.device.type == "cpu" or share == 0:
        return torch.nn.functional.dropout(x, share)
    return x * torch.nn.functional.dropout(torch.ones_like(x, device="cpu"), share).to(x.device)  # laid out alike
