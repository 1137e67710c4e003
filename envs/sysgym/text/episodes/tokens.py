"""The token mode: an answer is written token by token, each one of the K most probable next ones.

Action 0 is the most probable token, so that always 0 is greedy decoding. The end of a sentence is always among the K.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution
from sysgym.text.episodes.rows import Rows, Task
from sysgym.text.episodes.sentences import arrays_of
from sysgym.text.episodes.token_kernels import (
    CANDIDATE_FEATURES,
    GLOBAL_FEATURES,
    NODE_FEATURES,
    show_candidates,
    show_rows,
)
from sysgym.text.memory_bank import MemoryBank
from sysgym.text.model import TextModel

LIMIT = 1e3  # features stay within


class TokenProblem(Protocol):
    """What the mode asks of its problem."""

    k: int
    state: bool

    @property
    def text_model(self) -> TextModel: ...
    def model_of(self, instance: Any) -> TextModel: ...
    def task(self, instance: Any) -> Task: ...


@complete
class Tokens:
    """Choose the next token among the K most probable ones."""

    node_features = NODE_FEATURES
    global_features = GLOBAL_FEATURES
    candidate_features = CANDIDATE_FEATURES
    state_features: tuple[str, ...] = ()  # the decoder's vector, if the problem shows it

    def __init__(self, problem: TokenProblem) -> None:
        self.problem = problem
        self.model = problem.text_model
        self.bank = MemoryBank(self.model)
        if problem.state:
            wide = self.model.network.start(self.model.begin([np.array([self.model.special.end])])[0]).output.shape[1]
            self.state_features = tuple(f"decoder_{i}" for i in range(wide))

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A row of the candidates."""
        return spaces.Discrete(self.problem.k)

    def start(self, instance: Any, rng: np.random.Generator, solution: Solution | None = None) -> Rows:
        """Nothing is written; a starting solution is refused."""
        if solution is not None:
            raise UsageError("mode 'token' writes from nothing; it takes no starting solution.")
        if (own := self.problem.model_of(instance)) is not self.model:
            raise UsageError(
                f"{instance.name} is for the model {own.name}, and this environment has {self.model.name}: give "
                f"model={own.name}."
            )
        rows = Rows(self.bank, self.problem, 1, self.problem.k)
        rows.begin(0, instance)
        return rows

    def step(self, instance: Any, state: Rows, action: Any) -> Rows:
        """Write a token."""
        state.ready().play(np.array([action]), np.ones(1, bool))
        return state

    def done(self, instance: Any, state: Rows) -> bool:
        """Whether every sentence is over."""
        return bool(state.stopped[0])

    def copy(self, state: Rows) -> Rows:
        """Fork a state."""
        return state.take(0)

    def cost(self, instance: Any, state: Rows) -> float:
        """What the sentences that are over come to, the others being empty."""
        return float(state.cost[0])

    def scale(self, instance: Any, state: Rows) -> float:
        """Scores are percentages; a log-probability a token is what it is."""
        return 1.0 if state.ranked[0] else 100.0

    def solution(self, instance: Any, state: Rows) -> Solution:
        """What is written so far; sentences not begun are empty."""
        count = len(instance)
        texts, answers = list(state.texts[0]), list(state.answers[0])
        if len(texts) < count and state.length[0]:
            answers.append(state.tokens[0, : state.length[0]])
            texts.append(self.model.text(answers[-1]))
        texts += [""] * (count - len(texts))
        return answer_arrays(self.model, self.problem.task(instance), texts, answers)

    def mask(self, instance: Any, state: Rows, size: Size) -> Array:
        """Candidates that there are, (K,) int8; action 0 at the end."""
        return np.asarray(masks(state.ready())[0])

    def legal(self, instance: Any, state: Rows, action: Any, size: Size) -> bool:
        """The mask's answer for one action."""
        return bool(0 <= action < self.problem.k and masks(state.ready())[0, action])

    def nodes(self, instance: Any, state: Rows) -> Array:
        """Of each position that the encoder reads: attention now, attention so far, whether there is one."""
        most = self.size_of(instance)
        return np.asarray(node_rows(state.ready(), most)[0])

    def size_of(self, instance: Any) -> int:
        """Positions of the longest sentence."""
        return max(len(self.model.read(source)) for source in self.problem.task(instance).sources)

    def globals(self, instance: Any, state: Rows) -> Array:
        """Progress, and what the network says of the next token, (13,) float32."""
        return np.asarray(global_rows(state.ready())[0])

    def focus(self, instance: Any, state: Rows) -> int:
        """The position that is attended to most."""
        return int(focuses(state.ready())[0])

    def candidates(self, instance: Any, state: Rows, size: Size) -> tuple[Array, Array]:
        """Features of each candidate (K, 8) float32, and the position attended to for each (K,) int32."""
        x, _ = candidate_rows(state.ready())
        return x[0], np.full(self.problem.k, focuses(state)[0], np.int32)

    def state_vector(self, instance: Any, state: Rows) -> Array:
        """The decoder's vector before the softmax, float32."""
        return np.asarray(vectors(state.ready(), len(self.state_features))[0])

    def batch(self, num_envs: int, size: Size) -> TokenBatch:
        """Episodes side by side."""
        return TokenBatch(self, num_envs, size)


class TokenBatch:
    """All rows of a vector environment: one forward pass a step (`sysgym.core.problem.Batch`)."""

    def __init__(self, mode: Tokens, num_envs: int, size: Size) -> None:
        self.mode, self.size = mode, size
        self.rows = Rows(mode.bank, mode.problem, num_envs, mode.problem.k)

    def put(self, row: int, instance: Any, state: Rows) -> None:
        """Place an episode in a row, fresh or under way."""
        self.rows.put(row, state)

    def state(self, row: int) -> Rows:
        """A row by itself, a copy."""
        return self.rows.take(row)

    def costs(self) -> Array:
        """Running costs, (B,) float64."""
        return self.rows.cost.copy()

    def legal(self, actions: Array) -> Array:
        """Which rows' actions are legal, (B,) bool."""
        mask = masks(self.rows)
        inside = (actions >= 0) & (actions < mask.shape[1])
        return np.asarray(inside & (mask[np.arange(len(mask)), np.where(inside, actions, 0)] != 0))

    def step(self, actions: Array, live: Array) -> None:
        """Write a token in every live row."""
        self.rows.play(actions, live)

    def done(self) -> Array:
        """Which rows are over, (B,) bool."""
        return self.rows.stopped.copy()

    def observe(self, nodes: Array | None, column: int) -> dict[str, Array]:
        """See `sysgym.core.problem.Batch`."""
        rows = self.rows.ready()
        focus = focuses(rows)
        found = {"globals": global_rows(rows), "focus": focus[:, None].astype(np.int32)}
        if nodes is None:
            return found
        shown = node_rows(rows, nodes.shape[1])
        nodes[:, :, column:] = shown
        x, mask = candidate_rows(rows)
        mask[:, 0] |= ~mask.any(axis=1)
        wide = len(self.mode.state_features)
        found |= {"candidates": x, "action_mask": mask, "candidate_nodes": np.repeat(focus[:, None], x.shape[1], 1)}
        return found | ({"state": vectors(rows, wide)} if wide else {})


def masks(rows: Rows) -> Array:
    """(N, K) int8."""
    mask = (rows.next >= 0).astype(np.int8)
    mask[:, 0] |= ~mask.any(axis=1)
    return mask


def candidate_rows(rows: Rows) -> tuple[Array, Array]:
    """Features (N, K, 8) float32 and masks (N, K) int8."""
    x, mask = np.empty((*rows.next.shape, len(CANDIDATE_FEATURES)), np.float32), np.empty(rows.next.shape, np.int8)
    show_candidates(rows.next, rows.next_logp, rows.tokens, rows.length, rows.total, rows.model.special.end, x, mask)
    return x, mask


def global_rows(rows: Rows) -> Array:
    """(N, 13) float32."""
    out = np.empty((len(rows.cost), len(GLOBAL_FEATURES)), np.float32)
    count = np.array([1 if instance is None else len(instance) for instance in rows.instances])
    show_rows(rows.next_logp, rows.next, rows.steps, rows.length, rows.limit, rows.source, rows.total, rows.last,
              rows.coverage, rows.sentence, count, out)  # fmt: skip
    return out


def node_rows(rows: Rows, most: int) -> Array:
    """(N, most, 3) float32."""
    out = np.zeros((len(rows.cost), most, len(NODE_FEATURES)), np.float32)
    wide = min(most, rows.attention.shape[1])
    out[:, :wide, 0], out[:, :wide, 1] = rows.attention[:, :wide], np.minimum(rows.coverage[:, :wide], LIMIT)
    out[:, :, 2] = np.arange(most) < rows.source[:, None]
    return out


def focuses(rows: Rows) -> Array:
    """(N,) int32; 0 where nothing is attended to."""
    if not rows.attention.shape[1]:
        return np.zeros(len(rows.cost), np.int32)
    return np.asarray(rows.attention.argmax(axis=1), np.int32)


def vectors(rows: Rows, wide: int) -> Array:
    """(N, wide) float32; zeros where an episode is over."""
    if rows.network is None:
        return np.zeros((len(rows.cost), wide), np.float32)
    return np.asarray(np.clip(np.where(rows.stopped[:, None], 0.0, rows.network.output), -LIMIT, LIMIT), np.float32)


def answer_arrays(model: TextModel, task: Task, texts: list[str], answers: list[Array]) -> Solution:
    """The solution of texts: bytes and ends; where log P ranks, tokens (n, most) too, the end token behind each."""
    text, ends = arrays_of(texts)
    if task.score is not None:
        return {"text": text.astype(np.int64), "ends": ends}
    tokens = np.full((len(texts), max(task.limits)), model.special.end, np.int64)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = answer
    return {"text": text.astype(np.int64), "ends": ends, "tokens": tokens}
