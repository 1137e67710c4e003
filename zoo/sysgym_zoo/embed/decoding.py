"""Maintainers' command that writes the packaged models of decoding: `python -m sysgym_zoo.embed decoding`.

It reads the transliteration Transformer below SYSGYM_DATA (decoding/aren_transformer), writes it as a folder of ours
with the checksums of where it came from, and the index of the public reference checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.text.model import Special
from sysgym.text.model_files import built, fitted_tensors, write_model
from sysgym.text.models.config import TransformerConfig
from sysgym.text.vocabulary import CharacterVocabulary

TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "decoding"
HALF = False  # float16 moves the goldens' scores by up to 0.02, float32 not at all
MIT = "MIT (OpenNMT/CTranslate2, tests/data/models/v2/aren-transliteration, SYSTRAN and the OpenNMT Authors)"
RESEARCH = "trained on Multi30k, whose captions are for non-commercial research and education"
REFERENCE = {
    "source_vocabulary": 4000, "target_vocabulary": 4000, "embedding": 192, "units": 192, "recurrent_bias": True,
    "decoder_depth": 1, "attention_units": 192, "attention_bias": False, "attention_scale": True,
    "attention_values": True, "feed": "none", "bridge": "tanh", "tied": True,
}  # fmt: skip
PUBLIC: dict[str, dict[str, Any]] = {
    "multi30k": {
        "about": "English to German, GRU 192, trained on Multi30k", "licence": RESEARCH, "special": {},
        "weights": "models/nmt_gru192_multi30k_ende_fp16.npz", "vocabulary": "models/spm4k_multi30k_ende.model",
    },
    "selfdialogue": {
        "about": "responses, glimpse model with GRU 192, trained on the Self-dialogue Corpus",
        "licence": "BSD-3-Clause (Self-dialogue Corpus)", "special": {"separator": 4, "segment": 10},
        "weights": "models/dial_gru192_glimpse_fp16.npz", "vocabulary": "models/spm4k_selfdialogue.model",
    },
}  # fmt: skip
NOTICE = """Transliteration of Arabic names into Latin letters: a Transformer of 6 + 6 layers, width 32, 8 heads.

Weights and vocabularies: from OpenNMT/CTranslate2, tests/data/models/v2/aren-transliteration, under the MIT licence:

    Copyright (c) 2018-     SYSTRAN.
    Copyright (c) 2019-     The OpenNMT Authors.

    Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
    documentation files (the "Software"), to deal in the Software without restriction, including without limitation
    the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
    to permit persons to whom the Software is furnished to do so, subject to the following conditions:
    The above copyright notice and this permission notice shall be included in all copies or substantial portions of
    the Software.
    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
    THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
    AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
    CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
    IN THE SOFTWARE.

The names that it was trained for: google/transliteration, Apache-2.0.
Written by `python -m sysgym_zoo.embed decoding` from weights.npz (sha256 {checksum}).
"""


def public_folder() -> Path:
    """The folder of decoding among the public data."""
    root = os.environ.get("SYSGYM_DATA")
    if not root or not (Path(root) / "decoding").is_dir():
        raise UsageError("SYSGYM_DATA names no folder that holds decoding.")
    return Path(root) / "decoding"


def transliteration(folder: Path) -> None:
    """The Transformer as a folder of ours."""
    content = (folder / "weights.npz").read_bytes()
    with np.load(folder / "weights.npz") as arrays:
        tensors = {name: arrays[name] for name in arrays.files}
    source, target = (
        CharacterVocabulary(side, (folder / f"{side}_vocabulary.txt").read_bytes()) for side in ("source", "target")
    )
    config = TransformerConfig(
        source_vocabulary=source.size, target_vocabulary=target.size, width=32, heads=8, inner=128
    )
    special = Special(source_end=False)
    model = built("translit", config, fitted_tensors("weights.npz", tensors, config), (source, target),
                  special=special, max_length=40, licence=MIT)  # fmt: skip
    write_model(model, TARGET / "translit", half=HALF)
    checksum = hashlib.sha256(content).hexdigest()
    (TARGET / "translit" / "LICENSE").write_text(NOTICE.format(checksum=checksum))


def main() -> None:
    """Write the packaged model and the index of public ones."""
    folder = public_folder()
    TARGET.mkdir(parents=True, exist_ok=True)
    transliteration(folder / "aren_transformer")
    index = {}
    for name, told in PUBLIC.items():
        kept = {
            key: {"file": told[key], "sha256": hashlib.sha256((folder / told[key]).read_bytes()).hexdigest()}
            for key in ("weights", "vocabulary")
        }
        index[name] = {**told, **kept, "network": "recurrent", "options": REFERENCE, "max_length": 50}
    (TARGET / "models.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
