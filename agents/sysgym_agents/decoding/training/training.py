"""A training of a model, batch by batch: the same steps from the same seed, and from a snapshot on.

Cross entropy with label smoothing, AdamW with a rate that grows for a few steps and then falls to 0 as a line, and a
limit on the gradient's norm. The order of batches depends on the seed and the epoch, dropout on the seed and the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.models.config import RecurrentConfig
from sysgym_agents.core import Callback, Clock, uncounted
from sysgym_agents.decoding.training.batches import NOTHING, TOKENS, Batch, Example, batch_of, batches, batches_of
from sysgym_agents.decoding.training.network import RecurrentNet
from sysgym_agents.decoding.training.setting import Setting
from sysgym_agents.learning.devices import device_for
from sysgym_agents.learning.learner import spend, undisturbed
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner

BEST = "best/"
BETAS = (0.9, 0.98)


class Training:
    """A network under training, and the best one so far by its perplexity on the validation pairs."""

    def __init__(
        self, config: RecurrentConfig, setting: Setting, seed: int, train: Sequence[Example], valid: Sequence[Example]
    ) -> None:
        self.setting, self.seed, self.train, self.valid = setting, seed, train, valid
        self.device = device_for(setting.batch)
        with undisturbed():
            torch.manual_seed(_seed(seed))
            self.net = RecurrentNet(config, setting.dropout).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=setting.learning_rate, betas=BETAS, weight_decay=setting.weight_decay
        )
        self.half = computes_half(setting.precision, self.device.type)
        self.done = self.epoch = self.within = 0  # steps, whole epochs, and steps of this one
        self.share = 0.0  # of the budget, at the last step
        self.best, self.perplexity = dict[str, Array](), math.inf
        self.plan = self._planned()

    @property
    def epochs(self) -> float:
        """Epochs so far, a part of one counted."""
        return self.epoch + self.within / len(self.plan)

    def step(self, share: float) -> dict[str, float]:
        """One batch at a share of the budget; at the end of an epoch the perplexity on the validation pairs too."""
        self.share = share
        batch = batch_of(self.train, self.plan[self.within])
        rate = self.setting.learning_rate * min(1.0, (self.done + 1) / self.setting.warmup) * (1.0 - share)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with undisturbed():
            torch.manual_seed(_seed(self.seed, self.done))
            loss = self._update(batch)
        if not math.isfinite(loss):
            raise UsageError(f"the loss is {loss} after {self.done} steps; train anew with a lower learning_rate.")
        self.done, self.within = self.done + 1, self.within + 1
        row = {"loss": loss, "rate": rate, "tokens": float(len(batch.write))}
        if self.within == len(self.plan):
            self.epoch, self.within = self.epoch + 1, 0
            self.plan = self._planned()
            with uncounted():
                row |= {"perplexity": self.validate()}
        return row

    def validate(self) -> float:
        """Perplexity on the validation pairs; the weights are kept if they are the best so far."""
        found = self.perplexity_of(self.valid)
        if found < self.perplexity or not self.best:
            self.best, self.perplexity = self.net.tensors(), found
        return found

    def perplexity_of(self, examples: Sequence[Example]) -> float:
        """exp of the mean -log P of a target token, the end counted, without dropout and in float32."""
        total = count = 0.0
        self.net.eval()
        with torch.no_grad():
            for batch in batches(examples, self.setting.batch):
                total += float(self._losses(batch, reduction="sum"))
                count += len(batch.write)
        self.net.train()
        return math.exp(min(total / count, 700.0))

    def _update(self, batch: Batch) -> float:
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext():
            output = self.net.outputs(batch.sources, batch.lengths, batch.read)[batch.real]
            more = -len(output) % TOKENS
            logits = self.net.logits(nn.functional.pad(output, (0, 0, 0, more)))
        write = nn.functional.pad(batch.write, (0, more), value=NOTHING)
        loss = nn.functional.cross_entropy(
            logits.float(), write, ignore_index=NOTHING, label_smoothing=self.setting.label_smoothing
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), self.setting.clip)
        self.optimiser.step()
        return float(loss.detach())

    def _losses(self, batch: Batch, reduction: str) -> Tensor:
        batch = batch.to(self.device)
        output = self.net.outputs(batch.sources, batch.lengths, batch.read)[batch.real]
        return nn.functional.cross_entropy(self.net.logits(output), batch.write, reduction=reduction)

    def _planned(self) -> list[Array]:
        """The batches of this epoch."""
        return batches_of(self.train, self.setting.batch, np.random.default_rng([self.seed, self.epoch]))

    # -------------------------------------------------------------------------------------------- snapshots

    def snapshot(self) -> Snapshot:
        """The training as it stands."""
        best = {f"{BEST}{name}": torch.from_numpy(value) for name, value in self.best.items()}
        facts = {"seed": self.seed, "done": self.done, "epoch": self.epoch, "within": self.within, "share": self.share,
                 "perplexity": self.perplexity if self.best else None}  # fmt: skip
        return Snapshot(learner_tensors(self.net, self.optimiser) | best, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of the same setting and pairs."""
        facts: Mapping[str, Any] = snapshot.facts
        if facts["seed"] != self.seed:
            raise ValueError(f"it is of seed {facts['seed']}, this is of {self.seed}")
        best = snapshot.part(BEST)
        rest = {name: value for name, value in snapshot.tensors.items() if not name.startswith(BEST)}
        put_learner(Snapshot(rest, snapshot.facts), self.net, self.optimiser)
        self.done, self.epoch, self.within = int(facts["done"]), int(facts["epoch"]), int(facts["within"])
        self.share, self.plan = float(facts["share"]), self._planned()
        if min(self.done, self.epoch) < 0 or not 0 <= self.within < len(self.plan) or not 0 <= self.share <= 1:
            raise ValueError("its counts of steps cannot be")
        if best:
            self.best, self.perplexity = {key: value.numpy() for key, value in best.items()}, float(facts["perplexity"])


def fit(training: Training, clock: Clock, epochs: int | None, hear: Callback) -> None:
    """Train for so many epochs in all (None: no limit) or until the clock's budget is spent, or `hear` says stop. It
    hears the metrics of every step. The rate falls with the larger of both shares."""
    first, begun = training.epochs, training.share
    planned = math.inf if epochs is None else epochs - first
    if planned <= 0:
        return

    def advance(_: float) -> dict[str, float]:
        timed = begun + (1 - begun) * clock.share
        row = training.step(min(1.0, max(timed, 0.0 if epochs is None else training.epochs / epochs)))
        return {"steps": training.epochs - first, **row}

    spend(clock, planned, advance, hear)


def computes_half(precision: str, device: str = "cpu") -> bool:
    """Whether products are in bfloat16: as asked, or where the processor or GPU has instructions for it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    told: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("avx512_bf16") or told.get("amx_bf16"))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
