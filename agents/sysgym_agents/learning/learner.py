"""What learners share that keep hyper-parameters and weights in a folder, and the loop that spends a budget.

Imports torch inside functions only, so that listing agents stays cheap.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError, reading
from sysgym.core.options import check_fields, option_table, refuse_unknown
from sysgym.resources import limit_pools
from sysgym_agents.core import Budget, Callback, Clock

if TYPE_CHECKING:
    from torch import Tensor


class StoredLearner:
    """Base of learners: hyper-parameters are the annotated fields of a keyword-only dataclass, each in its range.

    A subclass names itself and says what it keeps: `weights`, `facts` beside the hyper-parameters, and `restore`, which
    takes both back.
    """

    name: ClassVar[str]
    problems: ClassVar[tuple[str, ...]] = ()
    needs_training: ClassVar[bool] = True
    default_instances: ClassVar[str] = ""  # the problem's own
    default_budget: ClassVar[Budget] = Budget(seconds=60)
    on_devices: ClassVar[bool] = True  # whether torch computes it, on the device that is chosen
    sizes: ClassVar[tuple[str, ...]] = ("hidden", "layers")  # hyper-parameters that a network is as large as
    begins: ClassVar[tuple[str, ...]] = ()  # those that name a rule which a network adds to

    def __post_init__(self) -> None:
        check_fields(self, f"{{}} of agent {self.name!r}")

    @property
    def bound(self) -> tuple[str, ...]:
        """Hyper-parameters that weights mean nothing without: they stay as they were trained with."""
        return (*self.sizes, *self.begins)

    @property
    def hyper(self) -> Mapping[str, Any]:
        """The hyper-parameters by name, to read: a value is changed by assigning to the field of its name."""
        return MappingProxyType({name: getattr(self, name) for name in option_table(type(self))})

    def prepare(self) -> None:
        """Import what kernels need, torch, and what its first optimiser imports where `solve` would train."""
        import torch

        import sysgym.compiled

        if self.weights() is None:
            import torch._dynamo
        assert torch is not None and sysgym.compiled is not None
        limit_pools()

    def weights(self) -> Mapping[str, Tensor] | None:
        """The numbers to keep by name; None before there are any."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Plain data to keep beside the hyper-parameters."""
        return {}

    def restore(self, facts: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> None:
        """Take back what was kept; UsageError if it does not fit, with the folder `path` in its sentence."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write `agent.json` and `model.safetensors` into a folder."""
        from sysgym_agents.learning.weights import save_agent

        weights = self.weights()
        if weights is None:
            raise UsageError(f"agent {self.name!r} has no weights to save; train it first.")
        save_agent(path, self.name, {"hyper": dict(self.hyper), **self.facts()}, weights)

    def load(self, path: Path) -> None:
        """Restore hyper-parameters and weights from a folder that `save` wrote.

        The hyper-parameters are checked, and the weights against them, before a network is built.
        """
        from sysgym_agents.learning.weights import check_sizes, load_agent

        facts, weights = load_agent(path, self.name, self.former_names())
        refuse_unknown(f"agent {self.name!r}", type(self), facts["hyper"])
        fresh = type(self)(**facts["hyper"])
        check_sizes(fresh.hyper, weights, self.sizes, path)
        with reading(path):
            fresh.restore(facts, weights, path)
        self.__dict__.update(fresh.__dict__)

    def forget(self, rng: np.random.Generator) -> bool:
        """Draw the weights anew, as before any training; False if they cannot be, or there are none."""
        return False

    def former_names(self) -> tuple[str, ...]:
        """Names under which folders of this agent were written before."""
        return ()

    def save_training(self, path: Path) -> bool:
        """Add the whole state of the training to a folder, to go on from exactly there; whether there is one."""
        return False

    def load_training(self, path: Path, budget: Budget) -> bool:
        """Let the next `fit` go on from what `save_training` wrote; whether it will take the very same steps."""
        return False


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let what is drawn within leave no trace in the global generators of Python, numpy and torch."""
    import torch

    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002


@contextmanager
def steady() -> Iterator[None]:
    """UsageError where a network's numbers are not finite, so that nothing can be drawn by them."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "to satisfy the constraint" not in str(error) and "probability tensor contains" not in str(error):
            raise
        raise UsageError(
            "the network gives numbers that are not finite, so nothing can be drawn by them; train the agent anew, with"
            " a lower learning_rate."
        ) from error


def spend(clock: Clock, planned: float, advance: Callable[[float], Mapping[str, float]], hear: Callback | None) -> None:
    """Advance until the budget of a clock is spent, `planned` steps are done, or `hear` says stop; at least once.

    `advance` gets the share of the budget that is used, 0 to 1, and returns metrics with the `steps` so far. `hear`
    gets them with the `seconds`, the last time too.
    """
    steps, rounds = 0.0, 0
    while True:
        by_steps = steps / planned if math.isfinite(planned) and planned else 0.0
        row = advance(min(1.0, max(by_steps, clock.share)))
        steps, rounds = row["steps"], rounds + 1
        over = steps >= planned or clock.spent() or clock.share * (1 + 0.5 / rounds) > 1  # no room for half of another
        if (hear is not None and not hear({**row, "seconds": clock.seconds})) or over:
            return


def planned_steps(budget: Budget, usual: float) -> float:
    """Steps that a budget allows: its own, as many as the time lasts (inf), or the `usual` number."""
    if budget.steps is not None:
        return max(budget.steps, 1)
    return math.inf if budget.timed else usual
