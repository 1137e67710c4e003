"""NMT decoding as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.core.instances import InstanceSet, Memo, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, ArraySpec, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays
from sysgym.nmt_decoding.catalogue import TOPIC, USUAL, is_instance, load_sentences
from sysgym.text.episodes.sentences import Sentences, arrays_of, checked_lines, split_lines

if TYPE_CHECKING:
    from sysgym.text.episodes.rows import Task
    from sysgym.text.episodes.steering import Replays
    from sysgym.text.episodes.widths import Decide, Narrowed
    from sysgym.text.model import TextModel

EXTRA, RATIO = 10, 1.5  # an answer may have 1.5 |X| + 10 tokens
STRANGE = 0.5  # share of unknown pieces from which on sentences are taken to be for another model
MOST = 65  # positions that an encoder reads: 64 pieces and an end


@complete
class NMTDecoding:
    """Write what a frozen translation network answers, better than its most probable next words would.

    Description: an instance is one or more sentences and a trained network (`sysgym.text`). With references, cost = 100
    - (0.5 BLEU + 0.5 chrF2) of all answers together; without, the mean of -log P / length. Solution: the answers as
    `text`, bytes of UTF-8, and `ends`, where each ends; where log P ranks also `tokens`, (n, most) ids with the end
    token behind each answer; in mode "beam" also `settings`, (n,) rows of the table of widths and length penalties,
    whose answers `text` must hold, and in mode "width" `widths`, (n, T) hypotheses that go on in each step, zeros
    behind: there the cost grows by 100 `lam` for each forward pass over those of greedy decoding. As a file of any
    other ending than .json and .npz: one answer a line.

    Options:
        mode: "token" (choose among the `k` most probable next tokens), "beam" (width and length penalty of the search
            for each sentence) or "width" (how many of at most `k` hypotheses of a beam go on, step by step); the last
            two need references.
        model: a packaged or public model, or a folder of one's own (`sysgym.text.catalogue`); None: the instance's.
        k: candidates; in mode "width" most hypotheses. max_len: most tokens of an answer, its end among them; None:
            1.5 |X| + 10, the model's at most.
        references: a file with a reference a line, for sentences from a file.
        score: "references" (where there are any) or "model": answers are worth their log-probability in any case.
        lam: price of forward passes in modes "beam" and "width".
        state: show the decoder's vector, which is of one model; without it a policy fits all models.

    Observation: nodes are the positions that the encoder reads: place, attention now and so far, whether there is one.
    Candidates: log P and P of the token, its rank, log P and length-normalised log P (Wu et al. 2016) if it is taken,
    whether it ends, repeats the last token, or a trigram. Globals: steps over the limit and the source, entropy and
    margin among the candidates, log P so far, source not attended to, sentences that are over, progress. In mode "beam"
    the globals say what greedy decoding says of the next sentence (log P, the worst and the margins of its tokens,
    lengths), and candidates are width, length penalty and price. In mode "width" they are hypotheses: score below the
    best and below the one before, share of the probability, whether it has ended, log P of its last token, the same of
    the next one, and how many go on; the globals are step and best score.

    Metrics: bleu, chrf and length_ratio, in modes "beam" and "width" forwards (over those of greedy decoding); without
    references logprob (of all) and tokens (a sentence).

    Rewards: see `sysgym.core.rewards`; paid where a sentence ends, sentences not written yet being empty. The scale is
    100, so that returns lie between 0 and 1; without references 1.
    Version history: v0, first release.
    """

    name = "NMTDecoding"
    version = 0
    variants = (
        {"mode": "token"},
        {"mode": "token", "state": False, "k": 4},
        {"mode": "beam"},
        {"mode": "width", "k": 4},
    )
    recommended_agent = "beam"
    default_instances = "ar2en/train"

    mode: Literal["token", "beam", "width"] = "token"
    model: str | None = None
    k: Annotated[int, Range(2, 64)] = 8
    max_len: Annotated[int | None, Range(1, 256)] = None
    references: str | None = None
    score: Literal["references", "model"] = "references"
    lam: Annotated[float, Range(0, 1)] = 0.002
    state: bool = True

    def __post_init__(self) -> None:
        if self.score == "model" and self.mode != "token":
            raise UsageError(f"mode {self.mode!r} weighs forward passes against references: it needs score=references.")

    @property
    def sealed(self) -> bool:
        """Who is judged by references may not choose by them; what the model says of an answer anybody may ask."""
        return self.score == "references"

    @property
    def precision(self) -> float:
        """Log-probabilities are sums of float32 products, whose last digits are the processor's; scores are counts."""
        return 0.0 if self.score == "references" else 1e-5

    @cached_property
    def text_model(self) -> TextModel:
        """The network of the option, or the usual one."""
        from sysgym.text.catalogue import load_model

        return load_model(self.model or USUAL)

    def model_of(self, instance: Sentences) -> TextModel:
        """The network that decodes an instance."""
        from sysgym.text.catalogue import load_model

        return self.text_model if self.model else load_model(instance.model)

    @cached_property
    def _tasks(self) -> Memo:
        return Memo(self._task, 1024)

    def task(self, instance: Sentences) -> Task:
        """What an instance asks for, as episodes need it."""
        found: Task = self._tasks(instance)
        return found

    def _task(self, instance: Sentences) -> Task:
        from sysgym.text.episodes.chunk import ChunkScore
        from sysgym.text.episodes.rows import Task

        model = self.model_of(instance)
        sources = [model.ids(line) for line in instance.sources]
        unknown = np.concatenate(sources) == model.source.unknown
        if unknown.mean() > STRANGE:
            raise UsageError(
                f"{instance.name}: the model {model.name} does not know {unknown.mean():.0%} of these sentences; name "
                "one that reads them, as in -O model=multi30k."
            )
        limits = [
            min(model.max_length, int(RATIO * len(each)) + EXTRA if self.max_len is None else self.max_len)
            for each in sources
        ]
        references = instance.references if self.score == "references" else []
        return Task(sources, limits, ChunkScore(references) if references else None)

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the chosen mode."""
        from sysgym.text.episodes.steering import Steering
        from sysgym.text.episodes.tokens import Tokens
        from sysgym.text.episodes.widths import Widths

        return {"token": Tokens, "beam": Steering, "width": Widths}[self.mode](self)

    @cached_property
    def _replays(self) -> Memo:
        return Memo(self._replay, 1024)

    def _replay(self, instance: Sentences) -> Replays:
        from sysgym.text.episodes.steering import Replays

        return Replays(self.model_of(instance), self.task(instance))

    def replays(self, instance: Sentences) -> Replays:
        """What each setting of mode "beam" answers."""
        found: Replays = self._replays(instance)
        return found

    def narrowed(self, instance: Sentences, decide: Decide) -> Solution:
        """The solution of mode "width" in whose searches as many hypotheses go on as `decide` says."""
        from sysgym.text.episodes.widths import narrow, narrowed_arrays

        return narrowed_arrays(narrow(self.model_of(instance), self.task(instance), self.k, decide))

    def replay(self, instance: Sentences, widths: Array) -> Narrowed:
        """What searches of given widths (n, T) find."""
        from sysgym.text.episodes.widths import replay

        return replay(self.model_of(instance), self.task(instance), self.k, widths)

    def price(self, instance: Sentences, forwards: int) -> float:
        """What forward passes cost in modes "beam" and "width"."""
        return 100.0 * self.lam * forwards / self.replays(instance).greedy

    def load(self, name: Any) -> Sentences:
        """Sentences by registered name or file; UsageError if they cannot be had or are malformed."""
        return load_sentences(str(name), self.model, self.references)

    reads = staticmethod(is_instance)

    def generate(self, rng: np.random.Generator) -> Sentences:
        """A sentence of the first set's training split."""
        entries = self.instance_sets()[self.default_instances.partition("/")[0]].names("train")
        return self.load(entries[int(rng.integers(len(entries)))])

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of sentences by name."""
        return load_index(TOPIC)

    def size(self, instance: Sentences) -> Size:
        """Positions of the longest sentence, as the encoder reads it."""
        model = self.model_of(instance)
        return Size(max(len(model.read(source)) for source in self.task(instance).sources), 0)

    def static(self, instance: Sentences) -> Mapping[str, Array]:
        """Where each position stands, of all that an encoder can read, (S, 1)."""
        return {"nodes": (np.arange(self.size(instance).nodes, dtype=np.float32) / MOST)[:, None]}

    def solution_arrays(self, instance: Sentences) -> Mapping[str, ArraySpec]:
        """`text` and `ends`; where log P ranks, `tokens` too."""
        from sysgym.text.episodes.ranked import answer_specs

        task, count = self.task(instance), len(instance)
        found = answer_specs(self.model_of(instance), task)
        if self.mode == "token":
            return found
        if self.mode == "beam":
            from sysgym.text.episodes.steering import SETTINGS

            own = {"settings": ArraySpec((count,), "int", 0, len(SETTINGS) - 1, "width and length penalty")}
        else:
            shape = (count, max(task.limits))
            own = {"widths": ArraySpec(shape, "int", 0, self.k, "hypotheses that go on, by step")}
        return {key: found[key] for key in ("text", "ends")} | own

    def judge(self, instance: Sentences, solution: Solution) -> Verdict:
        """Cost and metrics of answers (`judge_texts`, `judge_tokens`); InvalidSolution if they are none."""
        from sysgym.nmt_decoding.judge import judge_settings, judge_texts, judge_widths
        from sysgym.text.episodes.ranked import judge_tokens

        arrays, task = check_arrays(self.solution_arrays(instance), solution), self.task(instance)
        texts = checked_lines(arrays["text"], arrays["ends"], len(instance))
        if self.mode == "beam":
            return judge_settings(self, instance, texts, arrays["settings"])
        if self.mode == "width":
            return judge_widths(self, instance, texts, arrays["widths"])
        if task.score is not None:
            return judge_texts(task.score, texts)
        return judge_tokens(self.model_of(instance), task, texts, arrays["tokens"])

    @cached_property
    def _greedy(self) -> Memo:
        return Memo(self._greedy_cost)

    def _greedy_cost(self, instance: Sentences) -> float:
        if self.mode == "beam":
            from sysgym.text.episodes.steering import settings_arrays

            return self.judge(instance, settings_arrays(self.replays(instance), [0] * len(instance))).cost
        if self.mode == "width":
            return self.judge(instance, self.narrowed(instance, lambda asked: np.ones(len(asked.rows), np.int64))).cost
        from sysgym.text.episodes.rows import Rows
        from sysgym.text.memory_bank import MemoryBank

        rows = Rows(MemoryBank(self.model_of(instance), 1), self, 1, 2)
        rows.begin(0, instance)
        while not rows.stopped[0]:
            rows.ready()
            rows.play(np.array([0 if rows.next[0, 0] >= 0 else 1]), np.ones(1, bool))
        return float(rows.cost[0])

    def reference_costs(self, instance: Sentences) -> Mapping[str, float]:
        """The most probable next token at every step; in mode "width" one hypothesis at every step, which prefers going
        on to ending as its beams do.
        """
        return {"greedy": self._greedy(instance)}

    def steered(self, instance: Sentences, width: int, alpha: float) -> Solution:
        """The solution of modes "beam" and "width" that searches alike for every sentence; UsageError for a width or
        alpha that they do not have.
        """
        from sysgym.text.episodes.steering import SETTINGS, settings_arrays

        if self.mode == "width":
            if width > self.k or (alpha != 1 and width > 1):
                raise UsageError(f"mode 'width' has beams of 1 to {self.k} and alpha 1; got {width}/{alpha:g}.")
            return self.narrowed(instance, lambda asked: np.full(len(asked.rows), width))
        for setting, beam in enumerate(SETTINGS):
            if beam.width == width and (beam.alpha == alpha or width == 1):
                return settings_arrays(self.replays(instance), [setting] * len(instance))
        known = ", ".join(f"{beam.width}/{beam.alpha:g}" for beam in SETTINGS)
        raise UsageError(f"mode 'beam' has the widths and alphas {known}; got {width}/{alpha:g}.")

    def answer(self, instance: Sentences, texts: list[str], tokens: list[Array] | None = None) -> Solution:
        """The solution of answers; UsageError if their number is wrong. Where log P ranks, texts without tokens are cut
        into them by the model's vocabulary.
        """
        from sysgym.text.episodes.ranked import written

        if self.mode != "token":
            raise InvalidSolution(
                f"answers of mode {self.mode!r} need their settings: read and write them as .json or .npz."
            )
        return written(self.model_of(instance), self.task(instance), texts, tokens)

    @staticmethod
    def answer_texts(texts: list[str]) -> Solution:
        """The arrays of answers that are judged as texts."""
        text, ends = arrays_of(texts)
        return {"text": text.astype(np.int64), "ends": ends}

    def parse_solution(self, instance: Sentences, data: bytes, file_name: str) -> Solution:
        """A text file of one answer a line."""
        from sysgym.core.data import as_text

        return self.answer(instance, split_lines(as_text(file_name, data)))

    def format_solution(self, instance: Sentences, solution: Solution, file_name: str) -> bytes:
        """One answer a line."""
        lines = checked_lines(np.asarray(solution["text"]), np.asarray(solution["ends"]), len(instance))
        return "".join(f"{line}\n" for line in lines).encode()

    def legend(self, instance: Sentences, solution: Solution) -> list[dict[str, Any]]:
        """Each sentence and its answer."""
        lines = checked_lines(np.asarray(solution["text"]), np.asarray(solution["ends"]), len(instance))
        return [{"source": a, "answer": b} for a, b in zip(instance.sources, lines, strict=True)]

    def describe(self, instance: Sentences, solution: Solution) -> str:
        """Cost, metrics, and each sentence with its answer, as text."""
        from sysgym.nmt_decoding.render import describe

        return describe(instance, self.legend(instance, solution), self.judge(instance, solution))

    def render(self, instance: Sentences, solution: Solution) -> Array:
        """What each token of the first answers attends to, or the searches for them, (H, W, 3) uint8."""
        from sysgym.nmt_decoding.render import SHOWN, draw, draw_trees

        model, verdict = self.model_of(instance), self.judge(instance, solution)
        if self.mode == "token":
            return draw(model, instance, self.legend(instance, solution), verdict)
        trails = self.dynamics.trails(instance, solution, range(min(SHOWN, len(instance))))
        return draw_trees(model, instance, verdict, trails)
