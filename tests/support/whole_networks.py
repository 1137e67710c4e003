"""Networks as plain modules of torch, which workloads made by formula are compared with; build them on `meta`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def conv(inputs: int, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True) -> Any:
    """A convolution, its batch normalisation, and a ReLU in place."""
    made = nn.Conv2d(inputs, filters, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(made, nn.BatchNorm2d(filters), *([nn.ReLU(inplace=True)] if act else []))


def classified(layers: list[Any], channels: int) -> Any:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(inputs, filters), conv(filters, filters, 3, stride)
        self.conv3 = conv(filters, 4 * filters, act=False)
        self.down = conv(inputs, 4 * filters, 1, stride, act=False) if first else None

    def forward(self, x: Any) -> Any:
        out = self.conv3(self.conv2(self.conv1(x)))
        out += x if self.down is None else self.down(x)
        return F.relu(out)


def resnet50() -> Any:
    """ResNet-50 v1.5."""
    layers, inputs = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for filters, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            layers.append(Bottleneck(inputs, filters, stride if block == 0 else 1, block == 0))
            inputs = 4 * filters
    return classified(layers, 2048)


def mobilenet_v1() -> Any:
    layers, inputs = [conv(3, 32, 3, 2)], 32
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2),
                            (1024, 1)):  # fmt: skip
        layers += [conv(inputs, inputs, 3, stride, inputs), conv(inputs, filters)]
        inputs = filters
    return classified(layers, 1024)


class Inverted(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide, self.residual = expansion * inputs, stride == 1 and inputs == filters
        first = [conv(inputs, wide)] if expansion > 1 else []
        self.body = nn.Sequential(*first, conv(wide, wide, 3, stride, wide), conv(wide, filters, act=False))

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2() -> Any:
    layers, inputs = [conv(3, 32, 3, 2)], 32
    for expansion, filters, blocks, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                               (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):  # fmt: skip
        for block in range(blocks):
            layers.append(Inverted(inputs, filters, stride if block == 0 else 1, expansion))
            inputs = filters
    return classified([*layers, conv(320, 1280)], 1280)


class Encoder(nn.Module):
    """A layer of BERT."""

    def __init__(self, size: int, heads: int, wide: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(size), nn.LayerNorm(size)
        self.q, self.k, self.v, self.out = (nn.Linear(size, size) for _ in range(4))
        self.up, self.down = nn.Linear(size, wide), nn.Linear(wide, size)

    def forward(self, x: Any) -> Any:
        q, k, v = (each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        x = self.norm1(x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    """BERT-base, by default."""

    def __init__(self, layers: int = 12, size: int = 768, heads: int = 12, words: int = 30_522) -> None:
        super().__init__()
        self.word, self.place, self.kind = nn.Embedding(words, size), nn.Embedding(512, size), nn.Embedding(2, size)
        self.norm, self.pooler = nn.LayerNorm(size), nn.Linear(size, size)
        self.layers = nn.ModuleList(Encoder(size, heads, 4 * size) for _ in range(layers))

    def forward(self, ids: Any, kinds: Any) -> Any:
        x = self.norm(self.word(ids) + self.place(torch.arange(ids.shape[1])) + self.kind(kinds))
        for layer in self.layers:
            x = layer(x)
        return torch.tanh(self.pooler(x[:, 0]))


class Decoder(nn.Module):
    """A block of GPT-2: a projection for queries, keys and values, a mask by hand, and GELU spelt out."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x: Any) -> Any:
        q, k, v = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        weights = torch.where(mask, scores, -1e9).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        y = self.up(self.norm2(x))
        return x + self.down(0.5 * y * (1 + torch.tanh(0.8 * (y + 0.04 * y.pow(3)))))


class Gpt2(nn.Module):
    def __init__(self, layers: int = 2, size: int = 64, heads: int = 4, words: int = 50) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(words, size), nn.Embedding(32, size)
        self.blocks = nn.ModuleList(Decoder(size, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, words, bias=False)

    def forward(self, ids: Any) -> Any:
        x = self.word(ids) + self.place(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Rms(nn.Module):
    """The RMS norm spelt out."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Any) -> Any:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def turned(x: Any, cos: Any, sin: Any) -> Any:
    """Rotary position embedding."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


class Grouped(nn.Module):
    """A block of Llama: rotary grouped-query attention, and SwiGLU."""

    def __init__(self, size: int, heads: int, groups: int, wide: int) -> None:
        super().__init__()
        self.heads, self.groups, self.depth = heads, groups, size // heads
        self.q, self.out = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)
        self.k, self.v = (nn.Linear(size, groups * self.depth, bias=False) for _ in range(2))
        self.gate, self.up = nn.Linear(size, wide, bias=False), nn.Linear(size, wide, bias=False)
        self.down, self.norm1, self.norm2 = nn.Linear(wide, size, bias=False), Rms(size), Rms(size)

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        y, repeats = self.norm1(x), self.heads // self.groups
        q, k, v = (each(y).unflatten(-1, (-1, self.depth)).transpose(1, 2) for each in (self.q, self.k, self.v))
        q, k = turned(q, cos, sin), turned(k, cos, sin)
        k, v = (each.repeat_interleave(repeats, 1) for each in (k, v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self, layers: int = 2, size: int = 64, words: int = 50) -> None:
        super().__init__()
        self.word, self.norm, self.head = nn.Embedding(words, size), Rms(size), nn.Linear(size, words, bias=False)
        self.blocks = nn.ModuleList(Grouped(size, 4, 2, 96) for _ in range(layers))

    def forward(self, ids: Any) -> Any:
        x, turns = (
            self.word(ids),
            torch.outer(torch.arange(ids.shape[1]).float(), 1e4 ** (-torch.arange(0, 16, 2) / 16)),
        )
        turns = torch.cat((turns, turns), -1)
        for block in self.blocks:
            x = block(x, turns.cos(), turns.sin())
        return self.head(self.norm(x))
