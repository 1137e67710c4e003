"""Response decoding as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.instances import InstanceSet, Memo, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, ArraySpec, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays
from sysgym.response_decoding.catalogue import TOPIC, USUAL, is_instance, load_messages
from sysgym.response_decoding.instance import Messages
from sysgym.text.episodes.sentences import checked_lines, split_lines

if TYPE_CHECKING:
    from sysgym.text.episodes.rows import Task
    from sysgym.text.model import TextModel

MOST = 64  # pieces of a message


@complete
class ResponseDecoding:
    """Answer messages with a frozen dialogue model, so that the answers fit, say something, and differ.

    Description: Shao et al. (EMNLP 2017). An instance is one or more messages, the true answers, a trained network
    (`sysgym.text`), and Phi, 14 other messages. With references, cost = 100 (1 - [0.5 chrF2 / 100 + 0.3 (1 + S / 10) +
    0.2 distinct-2]), chrF2 and distinct-2 of all answers together and S the mean of log P(Y|X) - log sum over X' in Phi
    of P(Y|X'), X among them, no less than -10. An empty answer has S = -10, and distinct-2 shrinks by the share of
    empty ones. Without references cost = the mean of -log P / length. Solution: the answers as `text`, bytes of UTF-8,
    and `ends`, where each ends; where log P ranks also `tokens`, (n, most) ids with the end token behind each answer.
    The judge cuts texts into tokens itself. As a file of any other ending than .json and .npz: one answer a line.

    Options:
        mode: "segment" (choose the next segment of an answer among `n_cand`, or stop).
        model: a packaged or public model, or a folder of one's own (`sysgym.text.catalogue`); None: the instance's.
        n_cand: segments to choose from, of 10 tokens (the model's own number) or up to an end, all different. They are
            drawn by stochastic beam searches (B = 2, D = 10), for each state always the same.
        seed: of those draws, together with the number of the message and the position.
        max_len: most tokens of an answer, its end among them; None: the model's.
        min_chars: an answer that ends shorter gives way to that of beam search (beam 5, length penalty, segment-wise);
            0: never.
        references: a file with a true answer a line, for messages from a file.

    Observation: nodes are the positions of the message, and say no more than their place. Candidates: log P (sum, mean,
    rank), S with rank and log P of the answer so far with the segment, log P under the best and the mean of the other
    messages, tokens, characters, distinct-1/2 within the answer, overlap with the message, word pairs that repeat the
    answer so far or earlier answers of the chunk, or are new, whether it ends, and ends too short. Globals: segment,
    characters so far, length of the message, distinct-2 and word pairs of the chunk so far, messages, progress.

    Metrics: chrf (with references), mmi (S), distinct1 and distinct2 (of words, over all answers), chars (a mean),
    short (share under 40 characters), first (N-choose-K: share of answers more probable under their own message than
    under nine others), logprob (of all); without references also tokens (a mean).

    Rewards: see `sysgym.core.rewards`; paid where an answer ends, answers not written yet being empty. The scale is
    100, so that returns lie between 0 and 1; without references 1.
    Version history: v0, first release.
    """

    name = "ResponseDecoding"
    version = 0
    variants = ({"mode": "segment"},)
    recommended_agent = "fresh-rerank"
    default_instances = "selfdialogue/train"
    sealed = True  # who is judged by references may not choose by them

    mode: Literal["segment"] = "segment"
    model: str | None = None
    n_cand: Annotated[int, Range(2, 64)] = 8
    seed: Annotated[int, Range(0, 2**31)] = 0
    max_len: Annotated[int | None, Range(2, 256)] = None
    min_chars: Annotated[int, Range(0, 1000)] = 40
    references: str | None = None

    @cached_property
    def text_model(self) -> TextModel:
        """The network of the option, or the usual one."""
        from sysgym.text.catalogue import load_model

        return load_model(self.model or USUAL)

    def model_of(self, instance: Messages) -> TextModel:
        """The network that answers an instance."""
        from sysgym.text.catalogue import load_model

        return self.text_model if self.model else load_model(instance.model)

    @cached_property
    def _tasks(self) -> Memo:
        return Memo(self._task, 1024)

    def task(self, instance: Messages) -> Task:
        """What an instance asks for, as episodes need it."""
        found: Task = self._tasks(instance)
        return found

    def _task(self, instance: Messages) -> Task:
        from sysgym.text.episodes.chunk import ChunkScore
        from sysgym.text.episodes.rows import Task

        model, references = self.model_of(instance), instance.references
        sources = [model.ids(line) for line in instance.sources]
        limit = self.max_len or model.max_length
        return Task(sources, [limit] * len(sources), ChunkScore(references) if references else None)

    @cached_property
    def _samples(self) -> Memo:
        return Memo(self._sample, 1024)

    def samples(self, instance: Messages) -> list[list[Array]]:
        """Phi of each message as token ids, itself first."""
        found: list[list[Array]] = self._samples(instance)
        return found

    def _sample(self, instance: Messages) -> list[list[Array]]:
        from sysgym.text.scoring import with_others

        others = self.others(instance)
        return [with_others(source, others) for source in self.task(instance).sources]

    def others(self, instance: Messages) -> list[Array]:
        """The sample of messages as token ids."""
        model = self.model_of(instance)
        return [model.ids(line) for line in instance.sample]

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the segment mode."""
        from sysgym.response_decoding.segment import Segments

        return Segments(self)

    def load(self, name: Any) -> Messages:
        """Messages by registered name or file; UsageError if they cannot be had or are malformed."""
        return load_messages(str(name), self.model, self.references)

    reads = staticmethod(is_instance)

    def generate(self, rng: np.random.Generator) -> Messages:
        """A message of the first set's training split."""
        entries = self.instance_sets()[self.default_instances.partition("/")[0]].names("train")
        return self.load(entries[int(rng.integers(len(entries)))])

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of messages by name."""
        return load_index(TOPIC)

    def size(self, instance: Messages) -> Size:
        """Pieces of the longest message."""
        return Size(max(map(len, self.task(instance).sources)), 0)

    def static(self, instance: Messages) -> Mapping[str, Array]:
        """Where each position stands, of all that a message can have, (S, 1)."""
        return {"nodes": (np.arange(self.size(instance).nodes, dtype=np.float32) / MOST)[:, None]}

    def solution_arrays(self, instance: Messages) -> Mapping[str, ArraySpec]:
        """`text` and `ends`; where log P ranks, `tokens` too."""
        from sysgym.text.episodes.ranked import answer_specs

        return answer_specs(self.model_of(instance), self.task(instance))

    def judge(self, instance: Messages, solution: Solution) -> Verdict:
        """Cost and metrics of answers (`judge_texts`, `judge_ranked`); InvalidSolution if they are none."""
        from sysgym.response_decoding.judge import judge_ranked, judge_texts

        arrays, task = check_arrays(self.solution_arrays(instance), solution), self.task(instance)
        texts = checked_lines(arrays["text"], arrays["ends"], len(instance))
        model, samples = self.model_of(instance), self.samples(instance)
        if task.score is not None:
            return judge_texts(model, task, samples, texts)
        return judge_ranked(model, task, samples, texts, arrays["tokens"])

    @cached_property
    def _beams(self) -> Memo:
        return Memo(self._beam_cost)

    def _beam_cost(self, instance: Messages) -> float:
        tokens = [self.baseline(instance, place) for place in range(len(instance))]
        texts = list(map(self.model_of(instance).text, tokens))
        return self.judge(instance, self.answer(instance, texts, tokens)).cost

    def baseline(self, instance: Messages, place: int) -> Array:
        """Token ids of what beam search answers to one message."""
        from sysgym.response_decoding.segment import baseline

        task = self.task(instance)
        return baseline(self.model_of(instance), task.sources[place], task.limits[place])

    def reference_costs(self, instance: Messages) -> Mapping[str, float]:
        """Beam search segment by segment (beam 5, length penalty 1.0)."""
        return {"beam": self._beams(instance)}

    def answer(self, instance: Messages, texts: list[str], tokens: list[Array] | None = None) -> Solution:
        """The solution of answers; UsageError if their number is wrong. Where log P ranks, texts without tokens are cut
        into them by the model's vocabulary.
        """
        from sysgym.text.episodes.ranked import written

        return written(self.model_of(instance), self.task(instance), texts, tokens)

    def parse_solution(self, instance: Messages, data: bytes, file_name: str) -> Solution:
        """A text file of one answer a line."""
        from sysgym.core.data import as_text

        return self.answer(instance, split_lines(as_text(file_name, data)))

    def format_solution(self, instance: Messages, solution: Solution, file_name: str) -> bytes:
        """One answer a line."""
        lines = checked_lines(np.asarray(solution["text"]), np.asarray(solution["ends"]), len(instance))
        return "".join(f"{line}\n" for line in lines).encode()

    def legend(self, instance: Messages, solution: Solution) -> list[dict[str, Any]]:
        """Each message and its answer."""
        lines = checked_lines(np.asarray(solution["text"]), np.asarray(solution["ends"]), len(instance))
        return [{"source": a, "answer": b} for a, b in zip(instance.sources, lines, strict=True)]

    def describe(self, instance: Messages, solution: Solution) -> str:
        """Cost, metrics, and the conversation: answers with the borders of their segments, S and characters."""
        from sysgym.response_decoding.render import describe, turns

        rows = turns(self.model_of(instance), self.samples(instance), self.legend(instance, solution))
        return describe(instance, rows, self.judge(instance, solution))

    def render(self, instance: Messages, solution: Solution) -> Array:
        """The conversation as a picture, (H, W, 3) uint8."""
        from sysgym.response_decoding.render import draw, turns

        rows = turns(self.model_of(instance), self.samples(instance), self.legend(instance, solution))
        return draw(instance, rows, self.judge(instance, solution))
