"""Stored sparse products: equal to scatter and to dense matrices, with gradients, for batches of different graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sysgym_agents.learning.products import MeanOperator, blocks, mean_operator, multiply, parts_on, scatter_multiply

GRAPHS, NODES, EDGES, WIDTH = 3, 7, 19, 5


@pytest.fixture
def arrays() -> tuple[Any, Any, Any]:
    """Directed graphs with parallel edges, loops, weights of 0, isolated nodes and padded edges."""
    rng = np.random.default_rng(0)
    index = rng.integers(NODES - 1, size=(GRAPHS, 2, EDGES)).astype(np.int32)
    weight = rng.random((GRAPHS, EDGES)).astype(np.float32)
    weight[:, ::5] = 0
    mask = (np.arange(EDGES) < np.array([[19], [11], [0]])).astype(np.int8)
    return index, weight, mask


def dense(index: Any, weight: Any, mask: Any) -> torch.Tensor:
    """The definition, entry by entry."""
    full = np.zeros((GRAPHS, NODES, NODES))
    for g in range(GRAPHS):
        for e in np.flatnonzero(mask[g]):
            full[g, index[g, 1, e], index[g, 0, e]] += weight[g, e]
    return torch.from_numpy(full / np.maximum(full.sum(axis=2, keepdims=True), 1e-9))


def test_product_and_gradient_equal_the_dense_ones(arrays: tuple[Any, Any, Any]) -> None:
    operator: MeanOperator = mean_operator(*arrays, NODES)
    ids = np.array([2, 0, 0, 1, 0])
    torch.manual_seed(0)
    x = torch.randn(5, NODES, WIDTH, requires_grad=True)
    upstream = torch.randn(5, NODES, WIDTH)
    expected = dense(*arrays)[ids].float() @ x
    (wanted,) = torch.autograd.grad((expected * upstream).sum(), x)
    stacked = blocks(parts_on(operator, x.device), torch.from_numpy(ids))  # as away from the CPU
    for found in (multiply(operator, ids, x), scatter_multiply(operator, ids, x), multiply(stacked, ids, x)):
        (gradient,) = torch.autograd.grad((found * upstream).sum(), x)
        assert torch.allclose(found, expected, atol=1e-6)
        assert torch.allclose(gradient, wanted, atol=1e-6)


def test_product_is_twice_differentiable(arrays: tuple[Any, Any, Any]) -> None:
    operator = mean_operator(*arrays, NODES)
    ids = np.array([0, 1])
    x = torch.randn(2, NODES, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: multiply(operator, ids, v) ** 2, x, atol=1e-6)


def test_transposed_gradients_and_strided_features(arrays: tuple[Any, Any, Any]) -> None:
    operator, ids = mean_operator(*arrays, NODES), np.array([1, 0])
    x = torch.randn(2, WIDTH, NODES).transpose(1, 2)
    assert torch.allclose(multiply(operator, ids, x), dense(*arrays)[ids].float() @ x, atol=1e-6)
