"""How a surrogate learns: networks given and drawn, on designs that searches look at. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from sysgym.accelerator_design.bound_kernels import repair
from sysgym.accelerator_design.space import COUNTS, TABLE, machines
from sysgym.accelerator_design.workloads.drawn import mixed
from sysgym.core.problem import Array
from sysgym_agents.accelerator_design.evaluations import Evaluations
from sysgym_agents.accelerator_design.searches import Genetic, random_designs
from sysgym_agents.accelerator_design.surrogate_kernels import region_times
from sysgym_agents.accelerator_design.surrogate_net import Example, SurrogateNet, example_of
from sysgym_agents.core import Budget
from sysgym_agents.learning.devices import device_for
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.learning.stepwise import rate

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign

BATCH = 48  # designs a step
RANDOM = 16  # of them drawn evenly, within budgets larger than the problem's by
WIDER = (2.0, 1.5)  # for area and power
GIVEN = 0.3  # of the steps see a network that was given, the others one that was drawn, where there are both
NEW = 20  # steps until another network is drawn
DELTA = 0.5  # of Huber's loss: logarithms of times
WARM = 200  # steps until the learning rate is reached


class Source(NamedTuple):
    """A network to learn from."""

    work: Workloads
    example: Example
    designs: Array  # (n, 16) that a search looked at
    costs: Array  # (n,) what they cost there, or more where they are over a budget


class Networks:
    """The networks of a training: those that were given, then others that are drawn when they are needed first."""

    def __init__(self, problem: AcceleratorDesign, given: Sequence[Workloads], designs: int, seed: int) -> None:
        self.problem, self.given, self.designs, self.seed = problem, given, designs, seed
        self.known: dict[int, Source] = {}

    def __getitem__(self, index: int) -> Source:
        """The network of a number: the same in every training of the same seed."""
        if index not in self.known:
            rng = np.random.default_rng([self.seed, index])
            work = self.given[index] if index < len(self.given) else mixed(int(rng.integers(2**31)))
            evaluate = Evaluations(self.problem, work, Budget(steps=self.designs), self.designs)
            Genetic().search(evaluate, rng)
            example, costs = example_of(self.problem, work), np.array(list(evaluate.known.values()))
            self.known[index] = Source(work, example, evaluate.designs(), costs)
        return self.known[index]

    def draw(self, rng: np.random.Generator, done: int, most: int) -> int:
        """The number of a network after `done` steps: more are drawn as a training goes on, at `most` so many."""
        given, more = len(self.given), min(most, 1 + done // NEW)
        if more == 0 or rng.random() < GIVEN:
            return int(rng.integers(given))
        return given + int(rng.integers(more))

    def limits(self) -> tuple[float, float]:
        """Area and power that random designs may need."""
        rules, measured = self.problem.rules, self.problem.measured(self[0].work)
        return WIDER[0] * rules.area_budget * measured.tpu_area, WIDER[1] * rules.tdp_budget * measured.tpu_power


def times_of(problem: AcceleratorDesign, work: Workloads, designs: Array) -> tuple[Array, Array]:
    """Nanoseconds of each network (n, M), and of each region (n, R), of designs that can work."""
    simulator = problem.measured(work).simulator
    total, regions = np.empty((len(work.networks), len(designs))), np.empty((len(designs), len(work.kind)))
    rows = machines(designs)
    for m, (first, last) in enumerate(pairwise(work.first.tolist())):
        part = np.empty((len(designs), last - first))
        region_times(*simulator.model, (first, last), rows, simulator.schedule, simulator.fusion, *simulator.room,
                     total[m], part)  # fmt: skip
        regions[:, first:last] = part
    return total.T, regions


class Training(NamedTuple):
    """What a training is asked for."""

    hidden: int
    layers: int
    learning_rate: float
    iterations: int
    networks: int  # that are drawn in all
    designs: int  # that a search looks at on each network


class Progress:
    """A training between two steps. Draws torch's numbers in a fork, seeded from `rng`."""

    make: Callable[[int, int], Any] = SurrogateNet

    def __init__(
        self, problem: AcceleratorDesign, given: Sequence[Workloads], setting: Training, rng: np.random.Generator,
        start: Any = None,
    ) -> None:  # fmt: skip
        self.setting, self.rng, self.done = setting, rng, 0
        self.device = device_for(BATCH * max(len(work.kind) for work in given))
        self.networks = Networks(problem, given, setting.designs, int(rng.integers(2**31)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.net = (start or type(self).make(setting.hidden, setting.layers)).to(self.device)
        self.optimiser = torch.optim.Adam(self.net.parameters(), setting.learning_rate)

    def step(self, share: float) -> dict[str, float]:
        """One gradient step at a share of the budget; the loss, and the error of the logarithm of a batch's time."""
        self._paced(share)
        source = self.networks[self._drawn()]
        designs = self._designs(source)
        total, regions = times_of(self.networks.problem, source.work, designs)
        example = source.example.to(self.device)
        predicted = self.net(self.net.encode(example), source.example.regions, machines(designs))
        loss, error = _loss(predicted, total, regions, source.work.first.tolist())
        self._descend(loss)
        return {"loss": float(loss.detach()), "error": error}

    def _paced(self, share: float) -> None:
        """Set the learning rate of a step at a share of the budget."""
        share = max(share, self.done / self.setting.iterations)
        self.optimiser.param_groups[0]["lr"] = rate(self.setting.learning_rate, self.done, WARM, share)

    def _descend(self, loss: Tensor) -> None:
        """Follow the gradient of a loss."""
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1

    def _drawn(self) -> int:
        return self.networks.draw(self.rng, self.done, self.setting.networks)

    def _designs(self, source: Source) -> Array:
        """Some that are drawn evenly, some that were looked at for this network, some that were for another."""
        found = random_designs(self.rng, RANDOM)
        repair(TABLE, COUNTS, found, np.argsort(self.rng.random(found.shape), axis=1), *self.networks.limits())
        other = self.networks[self._drawn()]
        half = (BATCH - RANDOM) // 2
        looked = [pool[self.rng.integers(0, len(pool), half)] for pool in (source.designs, other.designs)]
        return np.concatenate([found, *looked])

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        facts = {"done": self.done, "iterations": self.setting.iterations, "seed": self.networks.seed,
                 "rng": self.rng.bit_generator.state}  # fmt: skip
        return Snapshot(learner_tensors(self.net, self.optimiser), facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and networks."""
        put_learner(snapshot, self.net, self.optimiser)
        self.done, self.networks.seed = int(snapshot.facts["done"]), int(snapshot.facts["seed"])
        self.rng.bit_generator.state = snapshot.facts["rng"]


def _tensor(values: Array, device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)


def _loss(predicted: Tensor, total: Array, regions: Array, first: list[int]) -> tuple[Tensor, float]:
    """Huber's loss of the logarithms of the networks' times and, half as much, of the regions', who count by their
    share of the time; and the root mean square error of the first.
    """
    loss, errors, device = predicted.new_zeros(()), list[float](), predicted.device
    for m, (begin, end) in enumerate(pairwise(first)):
        mine, times = predicted[:, begin:end], np.maximum(regions[:, begin:end], 1.0)
        whole = torch.logsumexp(mine, dim=1)
        wanted = _tensor(np.log(total[:, m]), device)
        share = _tensor(times / times.sum(axis=1, keepdims=True) + 1 / (end - begin), device)
        own = huber_loss(mine, _tensor(np.log(times), device), reduction="none", delta=DELTA)
        loss = loss + huber_loss(whole, wanted, delta=DELTA) + (share * own).sum(dim=1).mean() / 4
        errors.append(float((whole.detach() - wanted).square().mean()))
    return loss / len(errors), float(np.sqrt(np.mean(errors)))
