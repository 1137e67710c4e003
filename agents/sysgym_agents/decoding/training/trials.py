"""Short trainings of many networks on the same pairs of names, each judged by the characters that it gets wrong."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch

from sysgym.core.errors import UsageError
from sysgym.text.metrics import character_error_rate
from sysgym.text.model import TextModel
from sysgym.text.model_files import built
from sysgym.text.models.config import RecurrentConfig
from sysgym.text.search import Beam, beam_search, greedy
from sysgym.text.search import texts as written
from sysgym.text.vocabulary import MAX_PIECES
from sysgym_agents.core import Budget, Clock
from sysgym_agents.decoding.training.batches import Example, examples_of
from sysgym_agents.decoding.training.setting import Setting
from sysgym_agents.decoding.training.texts import held_out, make_vocabulary, tab_separated
from sysgym_agents.decoding.training.training import Training, fit
from sysgym_agents.learning.devices import using

USUAL: Mapping[str, Any] = {
    "vocabulary": "characters", "epochs": 3, "batch": 768, "learning_rate": 8e-3, "warmup": 50, "dropout": 0.0,
    "label_smoothing": 0.0, "max_length": 40, "precision": "float32",
}  # fmt: skip
WATCHED = 64  # training pairs whose perplexity a training looks at: nothing is chosen by it


class Trial(NamedTuple):
    """What a training came to."""

    rates: list[float]  # character errors in percent, of each way to search
    cpu_seconds: float


class Trials:
    """Trainings of one setting on pairs, `text TAB text` a line, judged on others: of an empty text, some of the same
    that are held out."""

    def __init__(self, train: str, judged: str, **changes: Any) -> None:
        self.setting = Setting(**{**USUAL, **changes})
        self.train = tab_separated("pairs to train on", train)
        if judged:
            self.judged = tab_separated("pairs to judge by", judged)
        else:
            self.train, self.judged = held_out(self.train)
        self.letters = make_vocabulary(self.setting.vocabulary, self.train, self.setting.pieces, False)
        content = repr((asdict(self.setting), version("torch"), train, judged)).encode()
        self.examples = list[Example]()  # all pairs to train on, once there is a model to read them
        self.key = hashlib.sha256(content).hexdigest()  # of all that a trial depends on but for network and seed

    @property
    def vocabulary(self) -> int:
        """Tokens of either side."""
        return self.letters.size

    def run(self, network: RecurrentConfig, seed: int, beams: Sequence[tuple[int, float]]) -> Trial:
        """Train a network (its vocabularies are those of the pairs) for all epochs, and judge the last weights by beam
        searches of some widths and length penalties. The same rates at every call with the same machine and libraries.
        """
        spent = time.process_time()
        with one_thread():
            model = self._trained(self._sized(network), seed)
        sources = [model.ids(text) for text in self.judged.sources]
        rates = []
        for width, alpha in beams:
            found = beam_search(model, sources, Beam(width=width, alpha=alpha)) if width > 1 else greedy(model, sources)
            rates.append(100 * character_error_rate(list(written(model, found)), self.judged.targets))
        return Trial(rates, time.process_time() - spent)

    def _sized(self, network: RecurrentConfig) -> RecurrentConfig:
        """A network with the vocabulary of the pairs."""
        return replace(network, source_vocabulary=self.vocabulary, target_vocabulary=self.vocabulary)

    def _trained(self, config: RecurrentConfig, seed: int) -> TextModel:
        """The model behind the last epoch."""
        empty = {name: np.zeros(shape, dtype=np.float32) for name, shape in config.shapes().items()}
        model = built("trial", config, empty, (self.letters, self.letters), max_length=self.setting.max_length)
        if not self.examples:
            self.examples, left_out = examples_of(model, self.train)
            if left_out:
                raise UsageError(f"{left_out} pairs to train on are too long: {MAX_PIECES} characters, and "
                                 f"{self.setting.max_length - 1} to write.")  # fmt: skip
        with using("cpu"):  # an answer is judged by what comes of it
            training = Training(config, self.setting, seed, self.examples, self.examples[:WATCHED])
            fit(training, Clock(Budget()), self.setting.epochs, lambda row: True)
        return replace(model, tensors=training.net.tensors())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch take one thread within: bits depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
