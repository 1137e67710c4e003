"""EfficientNet, MobileNet and ResNet."""

from __future__ import annotations

import math

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.workloads.builder import ADD, BIAS, MUL, RELU, SIGMOID, SWISH, Builder, Tensor

# Tan and Le 2019, table 1: repeats, kernel, stride, expansion, filters in and out
STAGES = ((1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80), (3, 5, 1, 6, 80, 112),
          (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320))  # fmt: skip
SCALES = {  # width, depth, resolution
    "b0": (1.0, 1.0, 224), "b1": (1.0, 1.1, 240), "b2": (1.1, 1.2, 260), "b3": (1.2, 1.4, 300), "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456), "b6": (1.8, 2.6, 528), "b7": (2.0, 3.1, 600),
}  # fmt: skip
PREACTIVATION = 3  # batch normalisation (2) and ReLU of a block's input
CLASSES = 1000


def _widened(filters: int, width: float) -> int:
    scaled = filters * width
    found = max(8, int(scaled + 4) // 8 * 8)
    return found + 8 if found < 0.9 * scaled else found


def efficientnet(variant: str) -> Workloads:
    """EfficientNet-B0 to B7 (Tan and Le, ICML 2019), `variant` "b0" to "b7"; SAME padding."""
    width, depth, resolution = SCALES[variant]
    net = Builder(f"efficientnet-{variant}")
    x = net.conv("stem", net.input(resolution, resolution, 3), _widened(32, width), 3, 2, ops=BIAS + SWISH)
    block = 0
    for repeats, kernel, stride, expansion, _, filters in STAGES:
        for i in range(math.ceil(depth * repeats)):
            x = _mobile_block(
                net, f"b{block}", x, (kernel, stride if i == 0 else 1, expansion, _widened(filters, width))
            )
            block += 1
    x = net.conv("head", x, _widened(1280, width), ops=BIAS + SWISH)
    return _classified(net, x)


def _classified(net: Builder, x: Tensor, ops: int = 1) -> Workloads:
    """Average pooling and the last layer; `ops` for each element that is pooled."""
    x = net.vector("avgpool", [x], (1, 1, x.shape[-1]), ops * x.elems)
    net.matmul("fc", x, CLASSES)
    return net.finish()


def _mobile_block(net: Builder, name: str, x: Tensor, sizes: tuple[int, int, int, int]) -> Tensor:
    """An inverted residual with squeeze and excitation; `sizes` kernel, stride, expansion, filters."""
    kernel, stride, expansion, filters = sizes
    start, channels = x, x.shape[-1]
    if expansion > 1:
        x = net.conv(f"{name}.expand", x, expansion * channels, ops=BIAS + SWISH)
    x = net.depthwise(f"{name}.dw", x, kernel, stride, BIAS + SWISH)
    wide = x.shape[-1]
    squeezed = net.vector(f"{name}.se_pool", [x], (1, 1, wide), x.elems)
    squeezed = net.matmul(f"{name}.se_fc1", squeezed, max(1, int(0.25 * channels)), BIAS + SWISH)
    scale = net.matmul(f"{name}.se_fc2", squeezed, wide, BIAS + SIGMOID)
    added = [start] if stride == 1 and channels == filters else []
    ops = BIAS + ADD * len(added)
    return net.conv(f"{name}.project", x, filters, ops=ops, more=[scale, *added], extra_ops=MUL * x.elems)


def mobilenet_v1() -> Workloads:
    """MobileNet (Howard et al. 2017) at 224 x 224."""
    net = Builder("mobilenet-v1")
    x = net.conv("stem", net.input(224, 224, 3), 32, 3, 2, ops=BIAS + RELU)
    layers = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
    for i, (filters, stride) in enumerate(layers):
        x = net.depthwise(f"b{i}.dw", x, 3, stride, BIAS + RELU)
        x = net.conv(f"b{i}.pw", x, filters, ops=BIAS + RELU)
    return _classified(net, x)


def mobilenet_v2() -> Workloads:
    """MobileNetV2 (Sandler et al. 2018) at 224 x 224."""
    net = Builder("mobilenet-v2")
    x = net.conv("stem", net.input(224, 224, 3), 32, 3, 2, ops=BIAS + RELU)
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    block = 0
    for expansion, filters, repeats, stride in stages:
        for i in range(repeats):
            start, name = x, f"b{block}"
            if expansion > 1:
                x = net.conv(f"{name}.expand", x, expansion * x.shape[-1], ops=BIAS + RELU)
            x = net.depthwise(f"{name}.dw", x, 3, stride if i == 0 else 1, BIAS + RELU)
            residual = i > 0
            more = [start] if residual else []
            x = net.conv(f"{name}.project", x, filters, ops=BIAS + (ADD if residual else 0), more=more)
            block += 1
    return _classified(net, net.conv("head", x, 1280, ops=BIAS + RELU))


def resnet50(name: str = "resnet50") -> Workloads:
    """ResNet-50 v1.5 (He et al. 2016; the stride in the 3 x 3 convolution)."""
    net = Builder(name)
    x = resnet_body(net, net.input(224, 224, 3))[-1]
    return _classified(net, x)


def resnet_body(net: Builder, image: Tensor) -> list[Tensor]:
    """The four stages of ResNet-50; what each leaves."""
    x = net.conv("conv1", image, 64, 7, 2, ops=BIAS + RELU)
    x = net.vector("pool1", [x], (x.shape[0] // 2, x.shape[1] // 2, 64), 9 * (x.elems // 4))
    found = []
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(1, blocks + 1):
            name, start = f"s{stage}_b{block}", x
            stride = 2 if block == 1 and stage > 2 else 1
            if block == 1:
                start = net.conv(f"{name}.shortcut", x, 4 * filters, 1, stride)
            x = net.conv(f"{name}.conv1", x, filters, ops=BIAS + RELU)
            x = net.conv(f"{name}.conv2", x, filters, 3, stride, ops=BIAS + RELU)
            x = net.conv(f"{name}.conv3", x, 4 * filters, ops=BIAS + ADD + RELU, more=[start])
        found.append(x)
    return found


def resnet50v2() -> Workloads:
    """ResNet-50 v2 as in Keras (He et al. 2016, pre-activation): the stride in the last block of a stage."""
    net = Builder("resnet50v2")
    x = net.conv("conv1", net.input(224, 224, 3), 64, 7, 2, norm=False)
    x = net.vector("pool1", [x], (56, 56, 64), 9 * (x.elems // 4))
    for stage, (filters, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(1, blocks + 1):
            name, start, before = f"s{stage}_b{block}", x, PREACTIVATION * x.elems
            stride = 2 if block == blocks and stage < 5 else 1
            net.params += 4 * x.shape[-1]  # of the normalisation before the block
            if block == 1:
                start = net.conv(f"{name}.shortcut", x, 4 * filters, norm=False, extra_ops=before)
            elif stride == 2:
                high, wide, channels = x.shape
                shape = (high // 2, wide // 2, channels)
                start = net.vector(f"{name}.shortcut_pool", [x], shape, math.prod(shape))
            x = net.conv(f"{name}.conv1", x, filters, ops=BIAS + RELU, extra_ops=before)
            x = net.conv(f"{name}.conv2", x, filters, 3, stride, ops=BIAS + RELU)
            x = net.conv(f"{name}.conv3", x, 4 * filters, norm=False, ops=BIAS + ADD, more=[start])
    net.params += 4 * x.shape[-1]
    return _classified(net, x, 1 + PREACTIVATION)
