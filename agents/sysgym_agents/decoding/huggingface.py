"""Agents of the token mode as decoders of Hugging Face models: `model.generate(..., custom_generate=decoder(agent))`.

An encoder-decoder model stands behind the suite's own interface of networks, so that an agent sees of it exactly what
an environment without features of one model (`state=False`) shows: candidates, attention, progress. That is the extra
`huggingface` (transformers); a model must give attentions: load it with attn_implementation="eager".

Its processors of scores are heard, sampling and beams are not: who chooses is the agent. As in the environment, a
sentence has at most 1.5 |X| + 10 tokens, the agent never writes what begins or pads a text, and sentences are decoded
one after the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

from sysgym.core.errors import MissingDependency, UsageError
from sysgym.core.problem import Array
from sysgym.core.registry import problem_class
from sysgym.text.episodes.sentences import lines_of, sentences
from sysgym.text.model import Special, TextModel
from sysgym.text.models.config import RecurrentConfig
from sysgym.text.models.interface import Memory, Network, State, fresh_state, padded, writable_cache
from sysgym.text.vocabulary import MAX_PIECES
from sysgym_agents.core import Agent, Budget

NAME = "huggingface"


class Decoder:
    """A decoder over sources that are encoded already, (B, S, d) with padding behind: a `Network`.

    A source is the number of its row, as many times as it has positions. States keep the tokens so far in `hidden`,
    behind the row, for processors of scores.
    """

    def __init__(self, model: Any, encoded: torch.Tensor, processors: Any, most: int) -> None:
        self.model, self.encoded, self.processors, self.most = model, encoded, processors, most
        self.vocabulary = int(model.config.vocab_size)
        self.caches = import_module("transformers.cache_utils")
        self.outputs = import_module("transformers.modeling_outputs").BaseModelOutput
        self.keyword = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        self.cross: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}  # by row: keys and values of each layer
        self.wide = 0

    def encode(self, sources: Sequence[Array]) -> Memory:
        """Which rows they are: what the decoder makes of them is kept once it has seen them."""
        lengths = np.array([len(source) for source in sources], dtype=np.int64)
        hidden = np.zeros((len(sources), 1 + self.most), dtype=np.float32)
        hidden[:, 0] = [source[0] for source in sources]
        if not self.wide:
            self.wide = self._forward(int(hidden[0, 0]), int(lengths[0]), self.empty, 0)[2].shape[0]
        room = padded(int(lengths.max()))
        return Memory(lengths, np.zeros((len(sources), 0, room), np.float32),
                      np.zeros((len(sources), room, 0), np.float32), hidden)  # fmt: skip

    empty = np.zeros((0, 0), dtype=np.float32)

    def start(self, memory: Memory, rows: Array | None = None) -> State:
        """One hypothesis without a token for each row of the memory, or for those named."""
        return fresh_state(memory, rows, self.wide, 0)

    def step(self, memory: Memory, state: State, tokens: Array) -> tuple[Array, Array, State]:
        """Log-probabilities (N, V) behind one more token (N,), attention (N, S) of the last layer (mean of its heads),
        and the next state; hypotheses one by one."""
        cache, filled = writable_cache(state)
        hidden, position = state.hidden.copy(), state.position
        logp = np.empty((len(tokens), self.vocabulary), dtype=np.float32)
        attention = np.zeros((len(tokens), memory.keys.shape[2]), dtype=np.float32)
        for n, token in enumerate(tokens.tolist()):
            row, length, at = int(hidden[n, 0]), int(memory.lengths[state.source[n]]), int(position[n])
            logits, weights, own = self._forward(row, length, cache[n, :at], token)
            hidden[n, 1 + at] = token
            so_far = torch.from_numpy(hidden[n : n + 1, 1 : at + 2].astype(np.int64))
            logp[n] = self.processors(so_far, logits[None])[0].log_softmax(dim=0).numpy()
            attention[n, :length], cache[n, at] = weights, own
        return logp, attention, State(state.source, position + 1, hidden, cache, filled + 1, state.output)

    @torch.no_grad()
    def _forward(self, row: int, length: int, past: Array, token: int) -> tuple[torch.Tensor, Array, Array]:
        """Logits (V,), attention (length,), and keys and values of the new position in all layers (D,), behind `past`
        (T, D)."""
        own, cross = self.caches.DynamicCache(), self.caches.DynamicCache()
        both = self.caches.EncoderDecoderCache(own, cross)
        heads = self.cross[row][0][0].shape[1] if row in self.cross else 0
        for layer, (keys, values) in enumerate(self.cross.get(row, ())):
            cross.update(keys, values, layer)
            both.is_updated[layer] = True
            if len(past):
                parts = np.split(past, 2 * len(self.cross[row]), axis=1)[2 * layer : 2 * layer + 2]
                own.update(*(_shaped(part, heads) for part in parts), layer)
        told = {self.keyword: both, "encoder_outputs": self.outputs(self.encoded[row : row + 1, :length])}
        found = self.model(attention_mask=torch.ones((1, length), dtype=torch.long), use_cache=True,
                           decoder_input_ids=torch.tensor([[token]]), output_attentions=True, **told)  # fmt: skip
        if not found.cross_attentions or found.cross_attentions[-1] is None:
            raise UsageError('the model gives no attentions; load it with attn_implementation="eager".')
        self.cross.setdefault(row, [(layer.keys, layer.values) for layer in cross.layers])
        new = [part[0, :, -1].reshape(-1) for layer in own.layers for part in (layer.keys, layer.values)]
        weights = found.cross_attentions[-1][0, :, -1].float().mean(dim=0)
        return found.logits[0, -1].float(), weights.numpy(), torch.cat(new).float().numpy()


def _shaped(part: Array, heads: int) -> torch.Tensor:
    """Keys or values (T, H d) of one layer as a cache takes them, (1, H, T, d)."""
    return torch.from_numpy(np.ascontiguousarray(part.reshape(1, len(part), heads, -1).transpose(0, 2, 1, 3)))


class Numbers:
    """A vocabulary of ids as they are written: of a source, its row and its length."""

    content = b""

    def __init__(self, size: int) -> None:
        self.size, self.unknown = size, -1

    def encode(self, text: str, most: int | None = MAX_PIECES) -> Array:
        """As many times its row as the source has positions, (n,) int64."""
        row, length = map(int, text.split())
        return np.full(length, row, dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The ids with blanks between."""
        return " ".join(map(str, ids))

    def piece(self, token: int) -> str:
        """An id."""
        return str(token)


@dataclass(frozen=True, kw_only=True)
class Foreign(TextModel):
    """A model whose network is given."""

    given: Any

    @property
    def network(self) -> Network:  # type: ignore[override]
        """The network."""
        found: Network = self.given
        return found


def _problem(model: TextModel, k: int) -> Any:
    """The problem of decoding with a given model."""
    kind: Any = problem_class("NMTDecoding")
    members = {"text_model": model, "model_of": lambda self, instance: model}
    return type("Given", (kind,), members)(mode="token", state=False, k=k, model=NAME)


def decoder(agent: Agent, k: int = 8, seed: int = 0) -> Callable[..., torch.Tensor]:
    """What `generate` takes as `custom_generate`: an agent of NMTDecoding in mode "token" with `k` candidates and
    `state=False` chooses every token. MissingDependency without transformers.

        model.generate(ids, attention_mask=mask, custom_generate=decoder(make_agent("first")))
    """
    try:
        import_module("transformers")
    except ImportError as error:
        raise MissingDependency(
            "decoding for Hugging Face needs transformers: pip install 'sysgym[huggingface]'."
        ) from error

    def custom_generate(
        model: Any, input_ids: torch.Tensor, logits_processor: Any, stopping_criteria: Any, generation_config: Any,
        **given: Any,
    ) -> torch.Tensor:  # fmt: skip
        if not model.config.is_encoder_decoder or input_ids.shape[1] != 1:
            raise UsageError("it decodes encoder-decoder models from their start token, and nothing else.")
        others = sorted({type(each).__name__ for each in stopping_criteria} - {"MaxLengthCriteria", "EosTokenCriteria"})
        if others:
            raise UsageError(f"it stops at the end token and at max_length, not by {', '.join(others)}.")
        encoded, mask = given["encoder_outputs"].last_hidden_state, given.get("attention_mask")
        mask = torch.ones(encoded.shape[:2], dtype=torch.long) if mask is None else mask
        lengths = mask.sum(dim=1)
        if not torch.equal(mask.bool(), torch.arange(mask.shape[1]) < lengths[:, None]):
            raise UsageError("sources must be padded behind; set padding_side='right' of the tokenizer.")
        special = _special(generation_config, int(input_ids[0, 0]))
        most = generation_config.max_length - 1
        network = Decoder(model, encoded, logits_processor, most)
        words = Numbers(network.vocabulary)
        foreign = Foreign(
            name=NAME, hash=NAME, config=RecurrentConfig(source_vocabulary=1, target_vocabulary=1), tensors={},
            source=words, target=words, special=special, max_length=most, given=network,
        )  # fmt: skip
        problem, rng, rows = _problem(foreign, k), np.random.default_rng(seed), []
        for row, length in enumerate(lengths.tolist()):
            instance = sentences(f"{NAME} {row}", NAME, [f"{row} {length}"], ["-"])
            limit = problem.task(instance).limits[0]
            solution = agent.solve(problem, instance, rng, Budget())
            tokens = [int(word) for word in lines_of(solution["text"].astype(np.uint8), solution["ends"])[0].split()]
            rows.append([special.begin, *tokens, *([special.end] if len(tokens) < limit else [])])
        found = torch.full((len(rows), max(map(len, rows))), special.padding)
        for row, tokens in enumerate(rows):
            found[row, : len(tokens)] = torch.tensor(tokens)
        return found

    return custom_generate


def _special(config: Any, begin: int) -> Special:
    """The tokens with a meaning of their own; UsageError where there is no single end token."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if len(ends) != 1 or ends[0] is None:
        raise UsageError(f"a model with one end token is needed, this one has eos_token_id {config.eos_token_id}.")
    padding = ends[0] if config.pad_token_id is None else config.pad_token_id
    return Special(begin=begin, end=ends[0], padding=padding, source_end=False)
