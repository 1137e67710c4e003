"""The Transformer of `aren_transformer`, from its README's formulas: float64, whole sequences, no cache."""

from __future__ import annotations

import numpy as np


def norm(x, t, name):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * t[f"{name}/gamma"] + t[f"{name}/beta"]


def affine(x, t, name):
    return x @ np.asarray(t[f"{name}/weight"], float).T + t[f"{name}/bias"]


def attend(q, k, v, heads, causal):
    wide = q.shape[1] // heads
    out = np.empty_like(q)
    for h in range(heads):
        part = slice(h * wide, (h + 1) * wide)
        scores = q[:, part] @ k[:, part].T / np.sqrt(wide)
        if causal:
            scores = np.where(np.tri(*scores.shape, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        out[:, part] = weights / weights.sum(1, keepdims=True) @ v[:, part]
    return out


def embedded(t, side, ids):
    table = np.asarray(t[f"{side}/embeddings/weight"], float)
    half = table.shape[1] // 2
    angle = np.arange(1, len(ids) + 1)[:, None] * np.exp(-np.log(10000) / (half - 1) * np.arange(half))
    return table[ids] * np.sqrt(2 * half) + np.concatenate([np.sin(angle), np.cos(angle)], 1)


def blocks(x, t, side, layers, heads, memory=None):
    for layer in range(layers):
        b = f"{side}/layer_{layer}"
        q, k, v = np.split(
            affine(norm(x, t, f"{b}/self_attention/layer_norm"), t, f"{b}/self_attention/linear_0"), 3, 1
        )
        x = x + affine(attend(q, k, v, heads, memory is not None), t, f"{b}/self_attention/linear_1")
        if memory is not None:
            q = affine(norm(x, t, f"{b}/attention/layer_norm"), t, f"{b}/attention/linear_0")
            k, v = np.split(affine(memory, t, f"{b}/attention/linear_1"), 2, 1)
            x = x + affine(attend(q, k, v, heads, False), t, f"{b}/attention/linear_2")
        inner = np.maximum(affine(norm(x, t, f"{b}/ffn/layer_norm"), t, f"{b}/ffn/linear_0"), 0)
        x = x + affine(inner, t, f"{b}/ffn/linear_1")
    return norm(x, t, f"{side}/layer_norm")


def log_probabilities(t, source, target, layers, heads):
    """(T, V) behind each prefix of target, which begins with <s>."""
    memory = blocks(embedded(t, "encoder", source), t, "encoder", layers, heads)
    logits = affine(
        blocks(embedded(t, "decoder", target), t, "decoder", layers, heads, memory), t, "decoder/projection"
    )
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))
