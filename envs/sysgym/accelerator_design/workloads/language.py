"""BERT, and the recurrent recogniser of text in pictures with the detector before it."""

from __future__ import annotations

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.workloads.builder import (
    ADD,
    BIAS,
    GELU,
    LAYER_NORM,
    RELU,
    SIGMOID,
    TANH,
    Builder,
    Tensor,
)
from sysgym.accelerator_design.workloads.vision import resnet_body

HIDDEN, LAYERS, HEADS, FFN = 768, 12, 12, 3072
VOCABULARY, POSITIONS, SEGMENTS = 30_522, 512, 2
ANCHORS, LEVEL = 3, 256  # of the detector
CLASSES, CELLS = 97, 256  # of the recogniser


def bert(tokens: int) -> Workloads:
    """BERT-base (Devlin et al. 2019) on `tokens` tokens."""
    net = Builder(f"bert-base-{tokens}")
    size = HIDDEN // HEADS
    shape, elems = (tokens, HIDDEN), tokens * HIDDEN
    embeddings = (VOCABULARY + POSITIONS + SEGMENTS) * HIDDEN
    x = net.vector(
        "embed_ln", [net.input(tokens)], shape, (3 * ADD + LAYER_NORM) * elems, extra=embeddings + 2 * HIDDEN
    )
    for layer in range(LAYERS):
        name, start = f"l{layer}", x
        q, k, v = (net.matmul(f"{name}.{part}", x, HIDDEN, rows=tokens, flat=True) for part in "qkv")
        x = net.product(f"{name}.qk", q, k, HEADS, (tokens, size, tokens), ops=1)
        x = net.softmax(f"{name}.softmax", x)
        x = net.product(f"{name}.av", x, v, HEADS, (tokens, tokens, size), merged=True)
        x = net.matmul(f"{name}.attn_out", x, HIDDEN, BIAS + ADD, rows=tokens, more=[start], flat=True)
        middle = net.vector(f"{name}.ln1", [x], shape, LAYER_NORM * elems, extra=2 * HIDDEN)
        x = net.matmul(f"{name}.ffn1", middle, FFN, BIAS + GELU, rows=tokens, flat=True)
        x = net.matmul(f"{name}.ffn2", x, HIDDEN, BIAS + ADD, rows=tokens, more=[middle], flat=True)
        x = net.vector(f"{name}.ln2", [x], shape, LAYER_NORM * elems, extra=2 * HIDDEN)
    net.matmul("pooler", x, HIDDEN, BIAS + TANH)
    return net.finish()


def detector() -> Workloads:
    """Where text is in a picture of 640 x 640: ResNet-50, a feature pyramid and a region proposal head on P2 to P6.

    A stand-in for FAST's OCR-RPN, whose layers are not published. The weights of the head are read, and counted, at
    each level.
    """
    net = Builder("ocr-rpn-like")
    stages = resnet_body(net, net.input(640, 640, 3))
    levels: dict[int, Tensor] = {}
    for level in (5, 4, 3, 2):
        above = [levels[level + 1]] if level < 5 else []
        levels[level] = net.conv(
            f"fpn.lat{level}", stages[level - 2], LEVEL, norm=False, ops=BIAS + ADD * len(above), more=above
        )
    outs = {level: net.conv(f"fpn.out{level}", levels[level], LEVEL, 3, norm=False) for level in (5, 4, 3, 2)}
    high, wide, _ = outs[5].shape
    outs[6] = net.vector("fpn.p6", [outs[5]], (high // 2, wide // 2, LEVEL), high // 2 * (wide // 2) * LEVEL)
    for level in (6, 5, 4, 3, 2):
        x = net.conv(f"rpn{level}.conv", outs[level], LEVEL, 3, norm=False, ops=BIAS + RELU)
        net.conv(f"rpn{level}.cls", x, ANCHORS, norm=False, ops=BIAS + SIGMOID)
        net.conv(f"rpn{level}.box", x, 4 * ANCHORS, norm=False)
    return net.finish()


def recogniser() -> Workloads:
    """What a line of text of 32 x 320 says: CRNN (Shi et al. 2015) with two bidirectional LSTM layers of 256 cells.

    A stand-in for FAST's OCR-Recognizer, whose layers are not published.
    """
    net = Builder("ocr-recognizer-like")
    ops = BIAS + RELU
    x = net.conv("conv1", net.input(32, 320, 1), 64, 3, norm=False, ops=ops)
    x = net.vector("pool1", [x], (16, 160, 64), x.elems)
    x = net.conv("conv2", x, 128, 3, norm=False, ops=ops)
    x = net.vector("pool2", [x], (8, 80, 128), x.elems)
    x = net.conv("conv3", x, 256, 3, ops=ops)
    x = net.conv("conv4", x, 256, 3, norm=False, ops=ops)
    x = net.vector("pool3", [x], (4, 80, 256), 2 * x.elems)
    x = net.conv("conv5", x, 512, 3, ops=ops)
    x = net.conv("conv6", x, 512, 3, norm=False, ops=ops)
    x = net.vector("pool4", [x], (2, 80, 512), 2 * x.elems)
    x = net.conv("conv7", x, 512, 2, ops=ops, same=False)
    steps = x.shape[1]
    for layer, out in ((1, CELLS), (2, CLASSES)):
        halves = []
        for way in ("fw", "bw"):
            name = f"lstm{layer}.{way}"
            gates = net.matmul(f"{name}.in", x, 4 * CELLS, rows=steps)
            halves.append(net.lstm(f"{name}.rec", gates, CELLS))
        x = net.matmul(f"lstm{layer}.merge", halves[0], out, rows=steps, more=halves[1:], channels=2 * CELLS)
    net.softmax("softmax", x)
    return net.finish()
