"""The models of the device-placement literature and some of many branches, without weights.

Each function returns (module, example inputs).
A module returns its loss in training and its logits otherwise; `sysgym_layer` marks the layers.
"""

from sysgym_zoo.models.amoebanet import amoebanet
from sysgym_zoo.models.branching import experts, towers, wired
from sysgym_zoo.models.rnn import gnmt, rnnlm
from sysgym_zoo.models.transformer import bert_base, gpt2, transformer_xl
from sysgym_zoo.models.vision import inception_v3, resnet50, vgg16
from sysgym_zoo.models.wavenet import wavenet

__all__ = [
    "amoebanet", "bert_base", "experts", "gnmt", "gpt2", "inception_v3", "resnet50", "rnnlm", "towers",
    "transformer_xl", "vgg16", "wavenet", "wired",
]  # fmt: skip
