"""Maintainers' command that trains the packaged model of dialogue: `python -m sysgym_zoo.embed dialogue`.

It runs `sysgym train-model dialogue`, whose texts lie below SYSGYM_DATA (decoding/selfdialogue, BSD-3-Clause), and puts
the model, its card and the licence of the texts into the package.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sysgym.core.errors import UsageError
from sysgym.text.model_files import read_model
from sysgym_agents.core import Budget
from sysgym_zoo.tools.modelling.card import CARD
from sysgym_zoo.tools.modelling.corpus import Files
from sysgym_zoo.tools.modelling.job import Asked, train

NAME = "dialogue"
TARGET = Path(__file__).parents[3] / "envs" / "sysgym" / "data" / "decoding" / NAME
FILES = ("model.json", "weights.safetensors", "source.model", CARD)
NOTICE = """Answers in English conversation: a glimpse model with GRU 192, trained by `sysgym train-model dialogue`;
training.json says how, on which files and how good it is. Weights and vocabulary are made of the Self-dialogue Corpus
(jfainberg/self_dialogue_corpus), whose licence is this one; its copyright line names no holder:

    BSD 3-Clause License

    Copyright (c) 2017,
    All rights reserved.

    Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
    following conditions are met:

    * Redistributions of source code must retain the above copyright notice, this list of conditions and the following
      disclaimer.
    * Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the
      following disclaimer in the documentation and/or other materials provided with the distribution.
    * Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote
      products derived from this software without specific prior written permission.

    THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
    INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
    DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
    SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
    SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
    WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
    OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


def pack(folder: Path) -> None:
    """Put a trained model into the package; UsageError if the folder holds none with segments."""
    if not read_model(folder).special.segment:
        raise UsageError(f"{folder} holds no model with segments.")
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(folder / name, TARGET / name)
    (TARGET / "LICENSE").write_text(NOTICE)
    print(TARGET)


def main() -> None:
    """Train by the recipe, and pack."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / NAME
        train(Asked(NAME, Files(), (), Budget(), seed=0, threads=1), folder)
        pack(folder)


if __name__ == "__main__":
    main()
