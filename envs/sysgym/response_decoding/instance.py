"""The instance of response decoding: messages to answer, the true answers, and a sample of other messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.episodes.sentences import Sentences, arrays_of, lines_of, sentences

SAMPLE = 14  # Q - 1: messages in Phi besides the one that is answered


@dataclass(frozen=True)
class Messages(Sentences):
    """Messages, one a line. The references are the true answers; they never reach a state or an observation."""

    sample_text: Array  # (bytes,) uint8: Phi without the message itself, in UTF-8, without line ends
    sample_ends: Array  # (Q - 1,) int64, where each of them ends

    @property
    def sample(self) -> list[str]:
        """The other messages of Phi."""
        return lines_of(self.sample_text, self.sample_ends)


def messages(
    name: str, model: str, sources: Sequence[str], references: Sequence[str], sample: Sequence[str]
) -> Messages:
    """An instance of lines; UsageError if there are none, one is empty, or their numbers differ."""
    if len(sample) != SAMPLE:
        raise UsageError(f"{name}: Phi has {SAMPLE} messages besides the one that is answered, got {len(sample)}.")
    said = sentences(name, model, sources, references)
    text, ends = arrays_of(sample)
    return Messages(**vars(said), sample_text=text, sample_ends=ends)
