"""An actor under training: it imitates the best answers of a beam, position by position. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.episodes.rows import Writing
from sysgym.text.models.linear import weight_of
from sysgym.text.search import Beam, beam_search
from sysgym_agents.decoding.actor_decode import Position, features, follow
from sysgym_agents.learning.devices import device_for, dropped, weights_of
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner
from sysgym_agents.learning.stepwise import rate

SENTENCES = 1024  # that are searched for at a time, as the training comes to need them
WARM = 50


class ActorNet(nn.Module):
    """From what the actor reads to a correction of the vector (W), of each rank (K), and of the end."""

    def __init__(self, vector: int, candidates: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.vector = vector
        self.enter, self.dropout = nn.Linear(2 * vector + candidates, hidden), dropout
        self.leave = nn.Linear(hidden, vector + candidates + 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Corrections (N, W + K + 1) of features (N, 2 W + K)."""
        x = torch.tanh(self.enter(x))
        found: Tensor = self.leave(dropped(x, self.dropout) if self.training else x)
        return found

    def arrays(self) -> dict[str, Array]:
        """The weights by name."""
        return {name: value.numpy() for name, value in weights_of(self).items()}


class Setting(NamedTuple):
    """Numbers of a training; see `TrainableGreedy`."""

    hidden: int
    candidates: int
    width: int
    learning_rate: float
    dropout: float
    batch: int
    iterations: int


class Imitation:
    """A training between two steps."""

    def __init__(
        self, problem: Writing, instances: Sequence[Any], setting: Setting, rng: np.random.Generator,
        start: ActorNet | None = None,
    ) -> None:  # fmt: skip
        self.problem, self.setting, self.done = problem, setting, 0
        self.seed = int(rng.integers(2**31))
        self.model = problem.model_of(instances[0])
        self.device, self.words = device_for(setting.batch), weight_of(self.model.network.softmax)
        self.tokens = torch.from_numpy(self.words).to(self.device)
        places = [(instance, place) for instance in instances for place in range(len(instance))]
        order = np.random.default_rng([self.seed, 0]).permutation(len(places))
        self.places = [places[i] for i in order]
        self.searched, self.parts, self.whole = 0, list[Position](), None
        self.positions = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            net = start or ActorNet(self.tokens.shape[1], setting.candidates, setting.hidden, setting.dropout)
            self.net = net.to(self.device)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), setting.learning_rate)

    def step(self, share: float) -> dict[str, float]:
        """One gradient step at a share of the budget; the loss, and how often the actor's choice is the imitated one.

        Sentences are searched for as positions are needed, so that the first pass sees each once; then they come again.
        """
        while self.searched < len(self.places) and self.positions <= self.done * self.setting.batch:
            self._search()
        share = max(share, self.done / self.setting.iterations)
        self.optimiser.param_groups[0]["lr"] = rate(self.setting.learning_rate, self.done, WARM, share)
        rng = np.random.default_rng([self.seed, 1, self.done])
        chosen = self._all().take(rng.integers(self.positions, size=self.setting.batch))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            score = self._scores(chosen)
        place = torch.from_numpy(chosen.place).to(self.device)
        loss = nn.functional.cross_entropy(score, place)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        right = (score.detach().argmax(dim=1) == place).to(torch.float32).mean()
        return {"loss": float(loss.detach()), "right": float(right)}

    def _scores(self, at: Position) -> Tensor:
        """The scores (N, K) of positions, as `actor_decode.scores` has them."""
        tokens, logp = torch.from_numpy(at.tokens).to(self.device), torch.from_numpy(at.logp).to(self.device)
        vector, last, wide = at.vector.astype(np.float32), self.words[at.last], self.net.vector
        found = self.net(torch.from_numpy(features(vector, last, at.logp)).to(self.device))
        moved = torch.bmm(self.tokens[tokens.clamp(min=0)], found[:, :wide, None])[:, :, 0]
        ends = found[:, -1:] * (tokens == self.model.special.end)
        return torch.where(tokens >= 0, logp + moved + found[:, wide:-1] + ends, -torch.inf)

    def _all(self) -> Position:
        """All positions so far."""
        if len(self.parts) > 1:
            self.parts = [Position.join(self.parts)]
        return self.parts[0]

    def _search(self) -> None:
        """Search for the next sentences, and follow the best hypothesis of each."""
        chosen = self.places[self.searched : self.searched + SENTENCES]
        self.searched += len(chosen)
        tasks = [(self.problem.task(instance), place) for instance, place in chosen]
        sources, limits = [task.sources[place] for task, place in tasks], [task.limits[place] for task, place in tasks]
        beam = Beam(width=self.setting.width, alpha=1.0)
        found, best = beam_search(self.model, sources, beam, max(limits)), list[Array]()
        for row, ((instance, _), (task, place)) in enumerate(zip(chosen, tasks, strict=True)):
            if task.score is None:
                raise UsageError(f"{instance.name} has no references to choose answers by: give references=FILE.")
            there = [found.best(row, slot) for slot in np.flatnonzero(found.scores[row] > -np.inf).tolist()]
            costs = [task.score.cost(task.score.of(place, self.model.text(each))) for each in there]
            best.append(there[int(np.argmin(costs))])
        self.parts.append(follow(self.model, sources, best, self.setting.candidates))
        self.positions += len(self.parts[-1].last)

    def snapshot(self) -> Snapshot:
        """The training as it stands; what was searched for is searched for again."""
        facts = {"iterations": self.setting.iterations, "done": self.done, "seed": self.seed, "searched": self.searched}
        return Snapshot(learner_tensors(self.net, self.optimiser), facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and sentences."""
        facts = snapshot.facts
        if facts["seed"] != self.seed:
            raise ValueError(f"it is of seed {facts['seed']}, this is of {self.seed}")
        put_learner(snapshot, self.net, self.optimiser)
        self.done = int(facts["done"])
        while self.searched < min(int(facts["searched"]), len(self.places)):
            self._search()
