"""Kernels of the token mode: which tokens may be next, and what is shown of them. N rows, K candidates, S positions."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit

CANDIDATE_FEATURES = (
    "log_p", "p", "rank", "log_p_if_taken", "score_if_taken", "ends", "repeats_last", "repeats_trigram",
)  # fmt: skip
NODE_FEATURES = ("attention", "coverage", "real")
GLOBAL_FEATURES = (
    "step_of_limit", "step_of_source", "entropy", "top_p", "margin", "log_p", "score", "uncovered", "source",
    "last_log_p", "candidates", "sentences_done", "progress",
)  # fmt: skip


@njit
def with_end(end_logp, end, tokens, found, allowed):
    """Make the end token a candidate of each row that allows it, in place of the last one if it is not among them:
    tokens, found (N, K), end_logp (N,), allowed (N,) bool."""
    for n in range(tokens.shape[0]):
        if not allowed[n]:
            continue
        there = False
        for k in range(tokens.shape[1]):
            there = there or tokens[n, k] == end
        if not there:
            tokens[n, -1] = end
            found[n, -1] = end_logp[n]


@njit
def length_penalty(length):
    """((5 + |Y|) / 6), Wu et al. 2016, alpha 1."""
    return (5.0 + length) / 6.0


@njit
def show_candidates(tokens, logp, written, length, total, end, x, mask):
    """Features of candidates, columns CANDIDATE_FEATURES: tokens, logp (N, K), written (N, T) tokens so far of which
    `length` (N,) count, total (N,) log P of them; x (N, K, 8) float32, mask (N, K) int8."""
    for n in range(tokens.shape[0]):
        many = length[n]
        for k in range(tokens.shape[1]):
            token = tokens[n, k]
            mask[n, k] = token >= 0
            x[n, k] = 0.0
            if token < 0:
                continue
            taken = total[n] + logp[n, k]
            longer = many + (token != end)
            x[n, k, 0] = max(logp[n, k], -100.0) / 10
            x[n, k, 1] = np.exp(logp[n, k])
            x[n, k, 2] = k / tokens.shape[1]
            x[n, k, 3] = max(taken, -1e3) / 10
            x[n, k, 4] = max(taken, -1e3) / length_penalty(longer)
            x[n, k, 5] = token == end
            x[n, k, 6] = many > 0 and written[n, many - 1] == token
            for t in range(2, many):
                pair = written[n, t - 2] == written[n, many - 2] and written[n, t - 1] == written[n, many - 1]
                if pair and written[n, t] == token:
                    x[n, k, 7] = 1.0


@njit
def show_rows(logp, tokens, steps, length, limit, source, total, last, coverage, done, count, out):
    """Features of episodes, columns GLOBAL_FEATURES: out (N, 13) float32."""
    many = tokens.shape[1]
    for n in range(out.shape[0]):
        mass, entropy, top, second, known = 0.0, 0.0, 0.0, 0.0, 0
        for k in range(many):
            if tokens[n, k] >= 0:
                p = np.exp(logp[n, k])
                mass += p
                known += 1
                if p > top:
                    top, second = p, top
                elif p > second:
                    second = p
        for k in range(many):
            if tokens[n, k] >= 0 and mass > 0:
                p = np.exp(logp[n, k]) / mass
                entropy -= p * np.log(p) if p > 0 else 0.0
        uncovered = 0.0
        for i in range(source[n]):
            uncovered += 1.0 - min(coverage[n, i], 1.0)
        share = min(steps[n] / max(limit[n], 1), 1.0)
        out[n, 0] = share
        out[n, 1] = min(steps[n] / max(source[n], 1), 10.0)
        out[n, 2] = entropy
        out[n, 3] = top
        out[n, 4] = top - second
        out[n, 5] = max(total[n], -1e3) / 10
        out[n, 6] = max(total[n], -1e3) / length_penalty(length[n])
        out[n, 7] = uncovered / max(source[n], 1)
        out[n, 8] = source[n] / 64
        out[n, 9] = max(last[n], -100.0) / 10
        out[n, 10] = known / many
        out[n, 11] = done[n] / max(count[n], 1)
        out[n, 12] = min((done[n] + (share if done[n] < count[n] else 0.0)) / max(count[n], 1), 1.0)
