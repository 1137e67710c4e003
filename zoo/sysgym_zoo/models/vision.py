"""Convolutional networks for pictures: VGG-16, ResNet-50 and Inception-v3."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sysgym_zoo.models.parts import layer, loss_or_logits, numbers, tokens

CLASSES = 1000
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # channels; 0 halves the picture
RESNET50 = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels within a block, blocks

Size = int | tuple[int, int]


class ConvNorm(nn.Sequential):
    """A convolution without bias, batch normalisation, and a rectifier unless `relu` is false."""

    def __init__(self, before: int, after: int, size: Size, stride: int = 1, pad: Size = 0, relu: bool = True) -> None:
        """Channels before and after, size of the window, stride, padding."""
        parts = [nn.Conv2d(before, after, size, stride, pad, bias=False), nn.BatchNorm2d(after)]
        super().__init__(*parts, *([nn.ReLU(inplace=True)] if relu else []))


class Classifier(nn.Module):
    """Layers one after the other, then classes: the loss in training, otherwise logits."""

    def __init__(self, *layers: Any) -> None:
        """Layers from the stem, 0, on; the last gives logits (batch, classes)."""
        super().__init__()
        self.layers = nn.ModuleList(layer(number, each) for number, each in enumerate(layers))

    def forward(self, x: Any, target: Any) -> Any:
        """Of pictures (batch, 3, height, width) and classes (batch,)."""
        for each in self.layers:
            x = each(x)
        return loss_or_logits(self, x, target)


class Average(nn.Module):
    """The mean over the picture, then a product."""

    def __init__(self, channels: int) -> None:
        """Channels of the picture."""
        super().__init__()
        self.linear = nn.Linear(channels, CLASSES)

    def forward(self, x: Any) -> Any:
        """Logits (batch, classes)."""
        return self.linear(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Bottleneck(nn.Module):
    """A block of ResNet: three convolutions beside a shortcut."""

    def __init__(self, before: int, inner: int, stride: int) -> None:
        """Channels before and within; four times as many come out."""
        super().__init__()
        self.first, self.second = ConvNorm(before, inner, 1), ConvNorm(inner, inner, 3, stride, 1)
        self.third = ConvNorm(inner, 4 * inner, 1, relu=False)
        changes = before != 4 * inner or stride > 1
        self.shortcut = ConvNorm(before, 4 * inner, 1, stride, relu=False) if changes else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        """The picture, (batch, channels, height, width)."""
        out = self.third(self.second(self.first(x)))
        out += self.shortcut(x)
        return self.relu(out)


class Branches(nn.Module):
    """Branches beside each other, whose channels are put together."""

    def __init__(self, *branches: Any) -> None:
        """Each is a module, or a list of modules that read the same."""
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        """The picture, (batch, channels, height, width)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def _average() -> Any:
    return nn.AvgPool2d(3, 1, 1)


def _across(before: int, after: int, inner: int, reverse: bool = False) -> list[Any]:
    """Two or four windows of 1 x 7 and 7 x 1 in turn."""
    shapes: list[Size] = [(1, 7), (7, 1)] if not reverse else [(7, 1), (1, 7), (7, 1), (1, 7)]
    widths = [before, *[inner] * (len(shapes) - 1), after]
    return [
        ConvNorm(widths[i], widths[i + 1], size, 1, (0, 3) if size == (1, 7) else (3, 0))
        for i, size in enumerate(shapes)
    ]


def _small(before: int, pooled: int) -> Any:
    """A block of Inception with windows up to 5 x 5."""
    return Branches(
        ConvNorm(before, 64, 1),
        nn.Sequential(ConvNorm(before, 48, 1), ConvNorm(48, 64, 5, 1, 2)),
        nn.Sequential(ConvNorm(before, 64, 1), ConvNorm(64, 96, 3, 1, 1), ConvNorm(96, 96, 3, 1, 1)),
        nn.Sequential(_average(), ConvNorm(before, pooled, 1)),
    )


def _long(inner: int) -> Any:
    """A block of Inception with windows of 1 x 7."""
    return Branches(
        ConvNorm(768, 192, 1),
        nn.Sequential(ConvNorm(768, inner, 1), *_across(inner, 192, inner)),
        nn.Sequential(ConvNorm(768, inner, 1), *_across(inner, 192, inner, reverse=True)),
        nn.Sequential(_average(), ConvNorm(768, 192, 1)),
    )


def _wide(before: int) -> Any:
    """A block of Inception whose branches part again."""

    def parted() -> Any:
        return Branches(ConvNorm(384, 384, (1, 3), 1, (0, 1)), ConvNorm(384, 384, (3, 1), 1, (1, 0)))

    return Branches(
        ConvNorm(before, 320, 1),
        nn.Sequential(ConvNorm(before, 384, 1), parted()),
        nn.Sequential(ConvNorm(before, 448, 1), ConvNorm(448, 384, 3, 1, 1), parted()),
        nn.Sequential(_average(), ConvNorm(before, 192, 1)),
    )


def _inception() -> list[Any]:
    """The layers of Inception-v3, without its auxiliary head."""
    shrink = Branches(
        ConvNorm(288, 384, 3, 2),
        nn.Sequential(ConvNorm(288, 64, 1), ConvNorm(64, 96, 3, 1, 1), ConvNorm(96, 96, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    shrink_more = Branches(
        nn.Sequential(ConvNorm(768, 192, 1), ConvNorm(192, 320, 3, 2)),
        nn.Sequential(ConvNorm(768, 192, 1), *_across(192, 192, 192), ConvNorm(192, 192, 3, 2)),
        nn.MaxPool2d(3, 2),
    )
    return [
        ConvNorm(3, 32, 3, 2), ConvNorm(32, 32, 3), ConvNorm(32, 64, 3, 1, 1), nn.MaxPool2d(3, 2),
        ConvNorm(64, 80, 1), ConvNorm(80, 192, 3), nn.MaxPool2d(3, 2),
        _small(192, 32), _small(256, 64), _small(288, 64), shrink,
        _long(128), _long(160), _long(160), _long(192), shrink_more, _wide(1280), _wide(2048), Average(2048),
    ]  # fmt: skip


def _resnet() -> list[Any]:
    """The layers of ResNet-50: a stem and 16 blocks."""
    layers: list[Any] = [nn.Sequential(ConvNorm(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1))]
    before = 64
    for stage, (inner, blocks) in enumerate(RESNET50):
        for block in range(blocks):
            layers.append(Bottleneck(before, inner, 2 if stage and not block else 1))
            before = 4 * inner
    return [*layers, Average(before)]


def _vgg() -> list[Any]:
    """The layers of VGG-16: 13 convolutions and 3 products, each with what follows it."""
    parts: list[list[Any]] = []
    before = 3
    for channels in VGG16:
        if channels:
            parts.append([nn.Conv2d(before, channels, 3, 1, 1), nn.ReLU(inplace=True)])
            before = channels
        else:
            parts[-1].append(nn.MaxPool2d(2, 2))
    parts[-1] += [nn.AdaptiveAvgPool2d(7), nn.Flatten()]
    parts += [[nn.Linear(n, 4096), nn.ReLU(inplace=True), nn.Dropout()] for n in (512 * 49, 4096)]
    return [nn.Sequential(*each) for each in [*parts, [nn.Linear(4096, CLASSES)]]]


def _built(make: Any, batch: int, size: int) -> tuple[Any, Any]:
    with torch.device("meta"):
        module = Classifier(*make())
    return module, (numbers(batch, 3, size, size), tokens(batch))


def inception_v3(batch: int = 32, size: int = 299) -> tuple[Any, Any]:
    """Inception-v3 without weights, and (pictures, classes)."""
    return _built(_inception, batch, size)


def resnet50(batch: int = 32, size: int = 224) -> tuple[Any, Any]:
    """ResNet-50 without weights, and (pictures, classes)."""
    return _built(_resnet, batch, size)


def vgg16(batch: int = 32, size: int = 224) -> tuple[Any, Any]:
    """VGG-16 without weights, and (pictures, classes)."""
    return _built(_vgg, batch, size)
