"""Transformers with their attention spelt out: Transformer-XL, BERT and GPT-2."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from sysgym_zoo.models.parts import layer, loss_or_logits, numbers, tokens, total


def attend(query: Any, key: Any, value: Any, mask: Any, heads: int) -> Any:
    """Attention of (batch, steps, width) with several heads; `mask` is added to the scores, or None."""
    batch, steps, width = query.shape
    q, k, v = (x.reshape(batch, -1, heads, width // heads).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.transpose(2, 3) * (1 / math.sqrt(width // heads))
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    return (weights @ v).transpose(1, 2).reshape(batch, steps, width)


class RelativeLayer(nn.Module):
    """A layer of Transformer-XL: attention by relative position to this segment and the last, then a network."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        """Width of the states, number of heads, width of the network."""
        super().__init__()
        self.heads = heads
        self.query, self.position, self.out = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.content_bias, self.position_bias = (nn.Parameter(torch.empty(heads, width // heads)) for _ in range(2))
        self.first, self.second = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Any, memory: Any, positions: Any, mask: Any) -> Any:
        """States (steps, batch, width) from them, the last segment's, positions (both, width) and a mask."""
        x = self.norms[0](x + self.out(self.attend(x, memory, positions, mask)))
        return self.norms[1](x + self.second(torch.relu(self.first(x))))

    def attend(self, x: Any, memory: Any, positions: Any, mask: Any) -> Any:
        """What attention adds, (steps, batch, width)."""
        steps, batch, width = x.shape
        size = width // self.heads
        key, value = self.key_value(torch.cat([memory, x])).chunk(2, -1)
        k, v = (each.reshape(-1, batch, self.heads, size).permute(1, 2, 0, 3) for each in (key, value))
        q = self.query(x).reshape(steps, batch, self.heads, size)
        r = self.position(positions).reshape(-1, self.heads, size).permute(1, 2, 0)
        content = (q + self.content_bias).permute(1, 2, 0, 3) @ k.transpose(2, 3)
        place = self.shift((q + self.position_bias).permute(1, 2, 0, 3) @ r)
        weights = torch.softmax((content + place) * (1 / math.sqrt(size)) + mask, -1)
        return (weights @ v).permute(2, 0, 1, 3).reshape(steps, batch, width)

    def shift(self, scores: Any) -> Any:
        """Scores (batch, heads, steps, both) by position, moved so that column j is position j."""
        batch, heads, steps, both = scores.shape
        padded = nn.functional.pad(scores, (1, 0)).view(batch, heads, both + 1, steps)
        return padded[:, :, 1:].view(batch, heads, steps, both)


class TransformerXL(nn.Module):
    """Transformer-XL over several segments, each of which reads the states of the last; the embedding is tied."""

    def __init__(self, layers: int, width: int, heads: int, inner: int, vocabulary: int) -> None:
        """Number of layers, width, heads, width of the networks, number of tokens."""
        super().__init__()
        self.embedding = layer(0, nn.Embedding(vocabulary, width))
        self.layers = nn.ModuleList(layer(1 + i, RelativeLayer(width, heads, inner)) for i in range(layers))
        self.head = layer(1 + layers, nn.Linear(width, vocabulary))
        self.head.weight = self.embedding.weight

    def forward(self, source: Any, target: Any, memory: Any, positions: Any, mask: Any) -> Any:
        """The loss, or logits (segments, steps * batch, vocabulary). Tokens are (segments, steps, batch)."""
        memories, parts = [memory for _ in self.layers], []
        for segment in range(source.shape[0]):
            x = self.embedding(source[segment])
            for i, each in enumerate(self.layers):
                memories[i], x = x.detach(), each(x, memories[i], positions, mask)
            logits = self.head(x).flatten(0, 1)
            parts.append(loss_or_logits(self, logits, target[segment].flatten()) if self.training else logits)
        return total(parts)


class Bert(nn.Module):
    """BERT with the head that predicts masked words."""

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, steps: int) -> None:
        """Number of layers, width, heads, number of tokens, longest text."""
        super().__init__()
        self.embedding = layer(0, BertEmbedding(width, vocabulary, steps))
        self.layers = nn.ModuleList(layer(1 + i, BertLayer(width, heads)) for i in range(layers))
        self.transform = layer(1 + layers, nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)))
        self.head = layer(1 + layers, nn.Linear(width, vocabulary))
        self.head.weight = self.embedding.word.weight

    def forward(self, source: Any, target: Any) -> Any:
        """The loss, or logits (batch * steps, vocabulary). Tokens are (batch, steps)."""
        x = self.embedding(source)
        for each in self.layers:
            x = each(x)
        return loss_or_logits(self, self.head(self.transform(x)).flatten(0, 1), target.flatten())


class BertEmbedding(nn.Module):
    """Embeddings of words, of which text they are in, and of where."""

    def __init__(self, width: int, vocabulary: int, steps: int) -> None:
        """Width, number of tokens, longest text."""
        super().__init__()
        self.word, self.kind = nn.Embedding(vocabulary, width), nn.Embedding(2, width)
        self.place, self.norm = nn.Embedding(steps, width), nn.LayerNorm(width)

    def forward(self, source: Any) -> Any:
        """States (batch, steps, width) of tokens (batch, steps)."""
        kinds = torch.zeros_like(source)
        places = torch.arange(source.shape[1], device=source.device).unsqueeze(0)
        return self.norm(self.word(source) + self.kind(kinds) + self.place(places))


class BertLayer(nn.Module):
    """Attention and a network, each normalised after it is added."""

    def __init__(self, width: int, heads: int) -> None:
        """Width and number of heads."""
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Any) -> Any:
        """States (batch, steps, width)."""
        x = self.norms[0](x + self.out(attend(self.query(x), self.key(x), self.value(x), None, self.heads)))
        return self.norms[1](x + self.second(nn.functional.gelu(self.first(x))))


class GPT2(nn.Module):
    """GPT-2; the embedding is tied."""

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, steps: int) -> None:
        """Number of layers, width, heads, number of tokens, longest text."""
        super().__init__()
        self.word, self.place = layer(0, nn.Embedding(vocabulary, width)), layer(0, nn.Embedding(steps, width))
        self.layers = nn.ModuleList(layer(1 + i, GPT2Layer(width, heads)) for i in range(layers))
        self.norm = layer(1 + layers, nn.LayerNorm(width))
        self.head = layer(1 + layers, nn.Linear(width, vocabulary, bias=False))
        self.head.weight = self.word.weight

    def forward(self, source: Any, target: Any) -> Any:
        """The loss, or logits (batch * steps, vocabulary). Tokens are (batch, steps)."""
        steps = source.shape[1]
        x = self.word(source) + self.place(torch.arange(steps, device=source.device))
        mask = torch.full((steps, steps), -math.inf, device=source.device).triu(1)
        for each in self.layers:
            x = each(x, mask)
        return loss_or_logits(self, self.head(self.norm(x)).flatten(0, 1), target.flatten())


class GPT2Layer(nn.Module):
    """Attention and a network, each normalised before it."""

    def __init__(self, width: int, heads: int) -> None:
        """Width and number of heads."""
        super().__init__()
        self.heads = heads
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Any, mask: Any) -> Any:
        """States (batch, steps, width)."""
        query, key, value = self.query_key_value(self.norms[0](x)).chunk(3, -1)
        x = x + self.out(attend(query, key, value, mask, self.heads))
        inner = self.first(self.norms[1](x))
        bent = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * torch.pow(inner, 3))))
        return x + self.second(bent)


def transformer_xl(
    layers: int = 2, batch: int = 32, segments: int = 4, steps: int = 64, *, width: int = 1024, heads: int = 16,
    inner: int = 4096, vocabulary: int = 32000,
) -> tuple[Any, Any]:  # fmt: skip
    """Transformer-XL without weights, and (source, target, memory, positions, mask)."""
    with torch.device("meta"):
        module = TransformerXL(layers, width, heads, inner, vocabulary)
    words = (tokens(segments, steps, batch), tokens(segments, steps, batch))
    return module, (*words, numbers(steps, batch, width), numbers(2 * steps, width), numbers(steps, 2 * steps))


def bert_base(
    layers: int = 12, batch: int = 16, steps: int = 128, width: int = 768, heads: int = 12, vocabulary: int = 30522
) -> tuple[Any, Any]:
    """BERT without weights, and (source, target)."""
    with torch.device("meta"):
        module = Bert(layers, width, heads, vocabulary, max(512, steps))
    return module, (tokens(batch, steps), tokens(batch, steps))


def gpt2(
    layers: int = 12, batch: int = 8, steps: int = 512, width: int = 768, heads: int = 12, vocabulary: int = 50257
) -> tuple[Any, Any]:
    """GPT-2 without weights, and (source, target)."""
    with torch.device("meta"):
        module = GPT2(layers, width, heads, vocabulary, max(1024, steps))
    return module, (tokens(batch, steps), tokens(batch, steps))
