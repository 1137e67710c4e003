"""Models of many branches: randomly wired convolutions, towers over tables, and a mixture of experts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from sysgym_zoo.models.parts import layer, loss_or_logits, numbers, tokens
from sysgym_zoo.models.transformer import attend
from sysgym_zoo.models.vision import Average, ConvNorm


class Wired(nn.Module):
    """A stage of nodes that each add what they read and convolve it, wired at random (Xie et al., ICCV 2019)."""

    def __init__(self, before: int, channels: int, reads: list[list[int]]) -> None:
        """Channels that come in and go out, and the nodes that each node reads; none: the input."""
        super().__init__()
        self.reads = reads
        self.nodes = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False),
                ConvNorm(width, channels, 1, relu=False),
            )
            for width, stride in ((channels, 1) if each else (before, 2) for each in reads)
        )
        read = {u for each in reads for u in each}
        self.ends = [u for u in range(len(reads)) if u not in read]

    def forward(self, x: Any) -> Any:
        """Half the picture, with the mean of the nodes that none reads."""
        found: list[Any] = []
        for node, each in zip(self.nodes, self.reads, strict=True):
            given = found[each[0]] if each else x
            for u in each[1:]:
                given = given + found[u]
            found.append(node(given))
        total = found[self.ends[0]]
        for u in self.ends[1:]:
            total = total + found[u]
        return total / len(self.ends)


class WiredNet(nn.Module):
    """A stem, stages of twice as many channels each, the classes; a stage is a layer."""

    def __init__(self, stages: int, nodes: int, branching: int, channels: int, seed: int) -> None:
        """Stages, nodes in each, how many nodes one reads at most, channels of the first, and of the wiring."""
        super().__init__()
        rng = np.random.default_rng(seed)
        self.stem = layer(0, ConvNorm(3, channels, 3, 2, 1))
        made, before = [], channels
        for stage in range(stages):
            width = channels * 2**stage
            made.append(layer(1 + stage, Wired(before, width, wiring(nodes, branching, rng))))
            before = width
        self.stages, self.head = nn.ModuleList(made), layer(1 + stages, Average(before))

    def forward(self, pictures: Any, classes: Any) -> Any:
        """The loss, or logits."""
        x = self.stem(pictures)
        for each in self.stages:
            x = each(x)
        return loss_or_logits(self, self.head(x), classes)


def wiring(nodes: int, branching: int, rng: np.random.Generator) -> list[list[int]]:
    """The earlier nodes that each node reads: 1 to `branching`, of the nearest; the first ones read none."""
    found: list[list[int]] = [[] for _ in range(min(2, nodes))]
    while len(found) < nodes:
        near = range(max(0, len(found) - 3 * branching), len(found))
        count = min(len(near), int(rng.integers(1, branching + 1)))
        found.append(sorted(rng.choice(near, count, replace=False).tolist()))
    return found


class Towers(nn.Module):
    """Recommendation: a tower of products over each table, their pairwise products, and a last tower (after DLRM)."""

    def __init__(self, tables: int, depth: int, width: int, rows: int) -> None:
        """Tables, products in a tower, the size of what is embedded, rows of a table."""
        super().__init__()
        self.tables = nn.ModuleList(layer(1 + i, nn.Embedding(rows, width)) for i in range(tables))
        self.towers = nn.ModuleList(layer(1 + i, tower(width, 2 * width, width, depth)) for i in range(tables))
        self.dense = layer(0, tower(16, 2 * width, width, depth))
        pairs = (tables + 1) * (tables + 1)
        self.top = layer(1 + tables, tower(pairs + width, 4 * width, 2, depth))

    def forward(self, dense: Any, sparse: Any, clicked: Any) -> Any:
        """The loss, or logits (batch, 2). Numbers are (batch, 16), rows (batch, tables)."""
        first = self.dense(dense)
        rows = [each(table(ids)) for each, table, ids in zip(self.towers, self.tables, sparse.unbind(1), strict=True)]
        stacked = torch.stack([first, *rows], 1)
        crossed = torch.bmm(stacked, stacked.transpose(1, 2)).flatten(1)
        return loss_or_logits(self, self.top(torch.cat([first, crossed], 1)), clicked)


def tower(before: int, inner: int, after: int, depth: int) -> Any:
    """Products with rectifiers between them."""
    widths = [before, *[inner] * (depth - 1), after]
    parts: list[Any] = []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class ExpertLayer(nn.Module):
    """Attention, then experts that each choose the tokens they work on (Zhou et al., NeurIPS 2022)."""

    def __init__(self, width: int, heads: int, experts: int) -> None:
        """The size of a state, heads of attention, experts."""
        super().__init__()
        self.heads = heads
        self.norm, self.joint, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.before, self.gate = nn.LayerNorm(width), nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)) for _ in range(experts)
        )

    def forward(self, x: Any) -> Any:
        """The next states, (batch, steps, width)."""
        query, key, value = self.joint(self.norm(x)).chunk(3, -1)
        x = x + self.out(attend(query, key, value, None, self.heads))
        flat = self.before(x).flatten(0, 1)
        weights = torch.softmax(self.gate(flat), 1)
        total = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            weight, chosen = torch.topk(weights[:, i], 2 * flat.shape[0] // len(self.experts))
            work = expert(torch.index_select(flat, 0, chosen)) * weight.unsqueeze(1)
            total = torch.index_add(total, 0, chosen, work)
        return x + total.view_as(x)


class Experts(nn.Module):
    """A Transformer of which every layer is a mixture of experts."""

    def __init__(self, layers: int, width: int, heads: int, experts: int, vocabulary: int) -> None:
        """Layers, the size of a state, heads, experts in a layer, number of tokens."""
        super().__init__()
        self.embedding = layer(0, nn.Embedding(vocabulary, width))
        self.layers = nn.ModuleList(layer(1 + i, ExpertLayer(width, heads, experts)) for i in range(layers))
        self.project = layer(1 + layers, nn.Linear(width, vocabulary))

    def forward(self, source: Any, target: Any) -> Any:
        """The loss, or logits (batch * steps, vocabulary). Tokens are (batch, steps)."""
        x = self.embedding(source)
        for each in self.layers:
            x = each(x)
        return loss_or_logits(self, self.project(x).flatten(0, 1), target.flatten())


def wired(
    stages: int = 3, nodes: int = 16, branching: int = 3, channels: int = 64, batch: int = 32, size: int = 224, *,
    seed: int = 0,
) -> tuple[Any, Any]:  # fmt: skip
    """A randomly wired network without weights, and (pictures, classes)."""
    with torch.device("meta"):
        module = WiredNet(stages, nodes, branching, channels, seed)
    return module, (numbers(batch, 3, size, size), tokens(batch))


def towers(
    tables: int = 16, depth: int = 3, width: int = 256, batch: int = 4096, rows: int = 100_000
) -> tuple[Any, Any]:
    """Towers over tables without weights, and (numbers, rows, clicks)."""
    with torch.device("meta"):
        module = Towers(tables, depth, width, rows)
    return module, (numbers(batch, 16), tokens(batch, tables), tokens(batch))


def experts(
    layers: int = 4, branching: int = 8, batch: int = 8, steps: int = 256, width: int = 768, heads: int = 12,
    vocabulary: int = 32000,
) -> tuple[Any, Any]:  # fmt: skip
    """A mixture of experts without weights, and (source, target); `branching` experts in a layer."""
    with torch.device("meta"):
        module = Experts(layers, width, heads, branching, vocabulary)
    return module, (tokens(batch, steps), tokens(batch, steps))
