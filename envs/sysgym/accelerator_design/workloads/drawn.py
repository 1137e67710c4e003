"""Networks drawn from a seed, of many kinds and sizes: what to train on, or to try something on."""

from __future__ import annotations

import numpy as np

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.workloads.builder import (
    ADD,
    BIAS,
    GELU,
    LAYER_NORM,
    RELU,
    SIGMOID,
    SWISH,
    Builder,
    Tensor,
)

SIZE = 64  # of an attention head


def mixed(seed: int) -> Workloads:
    """A convolutional network (three of five), a transformer or a recurrent recogniser.

    Convolutional ones see 48 to 640 pixels a side and have 3 to 10 plain, bottleneck or inverted residual blocks, some
    with squeeze and excitation; transformers 1 to 3 layers on 16 to 2,048 tokens; recognisers 1 or 2 LSTM layers.
    """
    rng = np.random.default_rng(seed)
    net = Builder(f"mixed:seed={seed}")
    kind = int(rng.integers(5))
    (_convolutional if kind < 3 else _transformer if kind == 3 else _recurrent)(net, rng)
    return net.finish()


def _between(rng: np.random.Generator, low: int, high: int, step: int = 1) -> int:
    """A multiple of a step, drawn evenly on a scale of logarithms."""
    return max(step, round(float(np.exp(rng.uniform(np.log(low), np.log(high)))) / step) * step)


def _convolutional(net: Builder, rng: np.random.Generator) -> None:
    side, channels = _between(rng, 48, 640, 8), _between(rng, 16, 64, 8)
    ops = BIAS + (SWISH if rng.random() < 0.5 else RELU)
    x = net.conv("stem", net.input(side, side, 3), channels, int(rng.choice([3, 7])), 2, ops=ops)
    if rng.random() < 0.3:
        x = net.vector("pool", [x], (x.shape[0] // 2, x.shape[1] // 2, channels), 9 * x.elems // 4)
    block = (_inverted, _bottleneck, _plain)[int(rng.integers(3))]
    for i in range(int(rng.integers(3, 11))):
        stride = 2 if rng.random() < 0.35 and x.shape[0] > 4 else 1
        wide = x.shape[-1]
        keep = stride == 1 and rng.random() < 0.7
        x = block(net, f"b{i}", x, wide if keep else _between(rng, wide, 2 * wide, 8), stride, ops, rng)
    x = net.vector("avgpool", [x], (1, 1, x.shape[-1]), x.elems)
    net.matmul("fc", x, _between(rng, 10, 1000))


def _inverted(
    net: Builder, name: str, x: Tensor, filters: int, stride: int, ops: int, rng: np.random.Generator
) -> Tensor:
    start, wide, expand = x, x.shape[-1], int(rng.choice([1, 4, 6]))
    more = [start] if stride == 1 and filters == wide else []
    if expand > 1:
        x = net.conv(f"{name}.expand", x, expand * wide, ops=ops)
    x = net.depthwise(f"{name}.dw", x, int(rng.choice([3, 5])), stride, ops)
    scale = 0
    if rng.random() < 0.6:
        gate = net.vector(f"{name}.se_pool", [x], (1, 1, x.shape[-1]), x.elems)
        gate = net.matmul(f"{name}.se_fc1", gate, max(1, wide // 4), ops)
        more, scale = [net.matmul(f"{name}.se_fc2", gate, x.shape[-1], BIAS + SIGMOID), *more], x.elems
    added = BIAS + (ADD if start in more else 0)
    return net.conv(f"{name}.project", x, filters, ops=added, more=more, extra_ops=scale)


def _bottleneck(
    net: Builder, name: str, x: Tensor, filters: int, stride: int, ops: int, rng: np.random.Generator
) -> Tensor:
    start, middle = x, max(8, filters // int(rng.choice([2, 4])))
    more = [start] if stride == 1 and filters == x.shape[-1] else []
    x = net.conv(f"{name}.conv1", x, middle, ops=ops)
    x = net.conv(f"{name}.conv2", x, middle, 3, stride, ops=ops)
    return net.conv(f"{name}.conv3", x, filters, ops=ops + len(more) * ADD, more=more)


def _plain(net: Builder, name: str, x: Tensor, filters: int, stride: int, ops: int, rng: np.random.Generator) -> Tensor:
    return net.conv(f"{name}.conv", x, filters, int(rng.choice([1, 3])), stride, ops=ops)


def _transformer(net: Builder, rng: np.random.Generator) -> None:
    rows, heads = _between(rng, 16, 2048, 8), int(rng.choice([4, 8, 12, 16]))
    wide = heads * SIZE
    elems = rows * wide
    x = net.vector("embed", [net.input(rows, wide)], (rows, wide), LAYER_NORM * elems)
    for i in range(int(rng.integers(1, 4))):
        q, k, v = (net.matmul(f"l{i}.{part}", x, wide, rows=rows, flat=True) for part in "qkv")
        a = net.softmax(f"l{i}.softmax", net.product(f"l{i}.qk", q, k, heads, (rows, SIZE, rows), ops=1))
        a = net.product(f"l{i}.av", a, v, heads, (rows, rows, SIZE), merged=True)
        a = net.matmul(f"l{i}.out", a, wide, BIAS + ADD, rows=rows, more=[x], flat=True)
        x = net.vector(f"l{i}.ln1", [a], (rows, wide), LAYER_NORM * elems)
        f = net.matmul(f"l{i}.ffn1", x, int(rng.choice([2, 4])) * wide, BIAS + GELU, rows=rows, flat=True)
        f = net.matmul(f"l{i}.ffn2", f, wide, BIAS + ADD, rows=rows, more=[x], flat=True)
        x = net.vector(f"l{i}.ln2", [f], (rows, wide), LAYER_NORM * elems)


def _recurrent(net: Builder, rng: np.random.Generator) -> None:
    ops = BIAS + RELU
    x = net.input(32, _between(rng, 64, 640, 8), int(rng.choice([1, 3])))
    for i in range(int(rng.integers(3, 7))):
        filters = _between(rng, 32, 96, 8) if i == 0 else min(512, _between(rng, x.shape[-1], 2 * x.shape[-1], 8))
        stride = int(rng.choice([1, 2])) if i and x.shape[0] > 2 else 1
        x = net.conv(f"conv{i}", x, filters, 3, stride, ops=ops)
    steps, cells = x.shape[1], _between(rng, 64, 768, 16)
    for i in range(int(rng.integers(1, 3))):
        gates = net.matmul(f"lstm{i}.in", x, 4 * cells, rows=steps, channels=x.elems // steps, flat=True)
        x = net.lstm(f"lstm{i}.rec", gates, cells)
    net.matmul("fc", x, _between(rng, 32, 1000), rows=steps, flat=True)
