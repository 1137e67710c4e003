"""Minimum risk training (Shen et al. 2016): what a beam finds becomes likelier the better its reference scores it.

The loss of a source is the expected 1 - score of its hypotheses, Q ~ P over them alone, where the score is half BLEU
and half chrF2 of the sentence. The hypotheses are those of the network as it is at that step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.episodes.chunk import ChunkScore
from sysgym.text.model import TextModel
from sysgym.text.models.config import RecurrentConfig
from sysgym.text.search import Beam, beam_search, greedy
from sysgym_agents.decoding.training.batches import Batch, Example, batch_of
from sysgym_agents.decoding.training.network import RecurrentNet
from sysgym_agents.decoding.training.setting import Setting
from sysgym_agents.decoding.training.training import Training


class RiskTraining(Training):
    """A training that goes on from a model, and keeps the weights that decode the validation pairs best."""

    def __init__(
        self, model: TextModel, setting: Setting, seed: int, train: Sequence[Example], valid: Sequence[Example]
    ) -> None:
        assert isinstance(model.config, RecurrentConfig)
        if model.special.segment:
            raise UsageError(f"{model.name} writes in segments, whose risk is not known; leave risk at 0.")
        super().__init__(model.config, setting, seed, train, valid)
        self.model, self.half = model, False
        self.net.put(model.tensors)
        self.validate()  # no training is better than one that harms

    def now(self) -> TextModel:
        """The model with the weights as they are."""
        return replace(self.model, tensors=self.net.tensors())

    def validate(self) -> float:
        """What the validation pairs cost, decoded greedily: 100 - (0.5 BLEU + 0.5 chrF2) of them all."""
        rows = self.valid[: self.setting.sample]
        model = self.now()
        found = greedy(model, [_source(model, each) for each in rows])
        score = ChunkScore([model.text(each.write) for each in rows])
        cost = score.cost(score.counts([model.text(found.best(row)) for row in range(len(rows))]))
        if cost < self.perplexity or not self.best:
            self.best, self.perplexity = self.net.tensors(), cost
        return self.perplexity_of(self.valid)

    def _update(self, batch: Batch) -> float:
        model = self.now()
        examples = _examples(batch)
        sources = [_source(model, each) for each in examples]
        found = beam_search(model, sources, Beam(width=self.setting.risk))
        owners, written, risks = list[int](), list[Example](), list[float]()
        for row, example in enumerate(examples):
            score = ChunkScore([model.text(example.write)])
            for place in np.flatnonzero((found.scores[row] > -np.inf) & found.ended[row]).tolist():
                tokens = found.best(row, place)
                whole = np.concatenate([[model.special.begin], tokens, [model.special.end]])
                owners.append(row)
                written.append(Example(example.source, whole[:-1], whole[1:]))
                risks.append(score.cost(score.of(0, model.text(tokens))) / 100)
        if not written:
            return 0.0
        logp = _logp(self.net, batch_of(written, np.arange(len(written))).to(self.device))
        told = torch.tensor(owners).to(self.device), torch.tensor(risks).to(self.device)
        loss = _expected(logp, *told, len(examples))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.setting.clip)
        self.optimiser.step()
        return float(loss.detach())


def _expected(logp: torch.Tensor, owners: torch.Tensor, risks: torch.Tensor, count: int) -> torch.Tensor:
    """The mean over `count` sources of the expected risk of their hypotheses (N,), by P among those of a source."""
    most = torch.full((count,), -torch.inf, device=logp.device).scatter_reduce(0, owners, logp.detach(), "amax")
    weights = (logp - most[owners]).exp()
    whole = torch.zeros(count, device=logp.device).index_add(0, owners, weights)
    found: torch.Tensor = (weights / whole[owners] * risks).sum() / count
    return found


def _logp(net: RecurrentNet, batch: Batch) -> torch.Tensor:
    """log P (N,) of what the examples of a batch write."""
    output = net.outputs(batch.sources, batch.lengths, batch.read)[batch.real]
    each = net.logits(output).log_softmax(dim=1).gather(1, batch.write[:, None])[:, 0]
    rows = torch.arange(len(batch.read), device=each.device).repeat_interleave(batch.real.sum(dim=1))
    return torch.zeros(len(batch.read), device=each.device).index_add(0, rows, each)


def _examples(batch: Batch) -> list[Example]:
    """The examples of a batch."""
    ends = np.concatenate([[0], np.cumsum(batch.real.sum(dim=1).numpy())])
    found = list[Example]()
    for row, (first, last) in enumerate(pairwise(ends.tolist())):
        source = batch.sources[row, : int(batch.lengths[row])].numpy()
        found.append(Example(source, batch.read[row, : last - first].numpy(), batch.write[first:last].numpy()))
    return found


def _source(model: TextModel, example: Example) -> Array:
    """The sentence's own ids, without what the model reads behind them."""
    found: Array = example.source[: len(example.source) - int(model.special.source_end)]
    return found
