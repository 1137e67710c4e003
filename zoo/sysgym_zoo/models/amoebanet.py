"""AmoebaNet-D: cells that evolution found, each of five pairs of operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sysgym_zoo.models.parts import numbers, tokens
from sysgym_zoo.models.vision import Average, Classifier

Operation = Callable[[int, int], Any]  # from channels and stride
Genes = tuple[tuple[int, Operation], ...]  # the state that is read, and what is done to it; pairs are added


def rectified(before: int, after: int, *windows: tuple[int, int, int]) -> Any:
    """A rectifier, a convolution and batch normalisation, for every window (height, width, stride).

    With more than one window, those between the first and the last work on a quarter of the channels.
    """
    parts: list[Any] = []
    for i, (height, width, stride) in enumerate(windows):
        left = before if i == 0 else after // 4
        right = after if i == len(windows) - 1 else after // 4
        pad = (height // 2, width // 2)
        shape = nn.Conv2d(left, right, (height, width), (stride, stride), pad, bias=False)
        parts += [nn.ReLU(), shape, nn.BatchNorm2d(right)]
    return nn.Sequential(*parts)


class Halve(nn.Module):
    """Half the picture, by two convolutions beside each other."""

    def __init__(self, before: int, after: int) -> None:
        """Channels before and after."""
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(before, after // 2, 1, 2, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Any) -> Any:
        """The picture, (batch, channels, height, width)."""
        x = torch.relu(x)
        return self.norm(torch.cat([part(x) for part in self.parts], 1))


def keep(channels: int, stride: int) -> Any:
    """The state as it is."""
    return Halve(channels, channels) if stride > 1 else nn.Identity()


def average(channels: int, stride: int) -> Any:
    """The mean of 3 x 3."""
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


def most(channels: int, stride: int) -> Any:
    """The maximum of 3 x 3."""
    return nn.MaxPool2d(3, stride, 1)


def most_of_four(channels: int, stride: int) -> Any:
    """The maximum of 2 x 2."""
    return nn.MaxPool2d(2, stride)


def single(channels: int, stride: int) -> Any:
    """A window of 1 x 1."""
    return rectified(channels, channels, (1, 1, stride))


def square(channels: int, stride: int) -> Any:
    """A window of 3 x 3 on fewer channels."""
    return rectified(channels, channels, (1, 1, 1), (3, 3, stride), (1, 1, 1))


class Long(nn.Sequential):
    """Windows of 1 x 7 and 7 x 1 on fewer channels."""

    def __init__(self, channels: int, stride: int) -> None:
        """Channels, and the stride of the long windows together."""
        super().__init__(*rectified(channels, channels, (1, 1, 1), (1, 7, 1), (7, 1, stride), (1, 1, 1)))


NORMAL: Genes = (
    (1, single), (1, most), (1, keep), (0, Long), (0, single), (0, Long), (2, most), (2, keep), (1, average),
    (5, single),
)  # fmt: skip
NORMAL_OUT = (0, 3, 4, 6)
REDUCTION: Genes = (
    (0, most_of_four), (0, most), (2, keep), (1, square), (2, Long), (2, most), (3, keep), (1, most_of_four),
    (2, average), (3, single),
)  # fmt: skip
REDUCTION_OUT = (4, 5, 6)


class Cell(nn.Module):
    """A cell reads the two before it; in a reduction, what reads them has stride 2."""

    def __init__(self, before: tuple[int, int], channels: int, reduction: bool, halved: bool) -> None:
        """Channels of the cells before, own channels, whether this halves the picture, whether the last did."""
        super().__init__()
        genes = REDUCTION if reduction else NORMAL
        self.out: tuple[int, ...] = REDUCTION_OUT if reduction else NORMAL_OUT
        self.near = rectified(before[1], channels, (1, 1, 1))
        self.far: Any = Halve(before[0], channels) if halved else nn.Identity()
        if not halved and before[0] != channels:
            self.far = rectified(before[0], channels, (1, 1, 1))
        self.reads = [state for state, _ in genes]
        self.operations = nn.ModuleList(make(channels, 2 if reduction and i < 2 else 1) for i, make in genes)

    def forward(self, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        """The pictures of the last cell and of this, (batch, channels, height, width)."""
        far, near = pair
        states = [self.near(near), self.far(far)]
        done = list(zip(self.reads, self.operations, strict=True))
        for (i, first), (j, second) in zip(done[::2], done[1::2], strict=True):
            states.append(first(states[i]) + second(states[j]))
        return near, torch.cat([states[i] for i in self.out], 1)


class Stem(nn.Module):
    """A convolution that halves the picture, which stands for both cells before the first."""

    def __init__(self, channels: int) -> None:
        """Channels that come out."""
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Any) -> tuple[Any, Any]:
        """The picture, twice."""
        x = self.norm(self.conv(x))
        return x, x


class Classify(Average):
    """A rectifier, the mean over the picture, a product."""

    def forward(self, pair: tuple[Any, Any]) -> Any:
        """Logits (batch, classes)."""
        return super().forward(torch.relu(pair[1]))


def cells(depth: int, filters: int) -> list[Any]:
    """A stem, two reductions, then three runs of depth / 3 normal cells with reductions between them."""
    before, channels, halved = (filters // 8, filters // 8), filters // 4, False
    found: list[Any] = [Stem(before[0])]
    plan = [True, True]
    for run in range(3):
        plan += ([True] if run else []) + [False] * (depth // 3)
    for reduction in plan:
        channels *= 2 if reduction else 1
        found.append(Cell(before, channels, reduction, halved))
        before = (before[1], channels * len(REDUCTION_OUT if reduction else NORMAL_OUT))
        halved = reduction
    return [*found, Classify(before[1])]


def amoebanet(depth: int = 18, filters: int = 256, batch: int = 32, size: int = 224) -> tuple[Any, Any]:
    """AmoebaNet-D without weights, of `depth` normal cells (a multiple of 3), and (pictures, classes)."""
    with torch.device("meta"):
        module = Classifier(*cells(depth, filters))
    return module, (numbers(batch, 3, size, size), tokens(batch))
