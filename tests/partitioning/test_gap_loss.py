"""GAP's loss against `judge` and a dense transcription, and the sparse products below it."""

import numpy as np
import pytest
import torch

from sysgym.graphs.csr import Graph, from_edges
from sysgym.graphs.generate import generate_graph
from sysgym.partitioning.judge import judge_partition
from sysgym_agents.learning.layers import NORMS, graph_operator, multiply, stack_graphs
from sysgym_agents.partitioning.gap_loss import expected_imbalance, expected_ncut, gap_loss


def tiny() -> Graph:
    """Six weighted nodes; node 5 is isolated."""
    return from_edges("tiny", 6, [0, 0, 1, 2, 3], [1, 2, 2, 3, 4], [3, 1, 2, 5, 4], [1, 2, 3, 1, 2, 4])


def tensors(graph: Graph) -> tuple:
    degree, weight = (torch.tensor(x, dtype=torch.float64) for x in (graph.degree, graph.vwgt))
    return graph_operator(graph, "none", torch.float64), degree, weight


def soft(graph: Graph, parts: int, seed: int = 0) -> torch.Tensor:
    draws = np.random.default_rng(seed).standard_normal((graph.nodes, parts))
    return torch.softmax(torch.tensor(draws), dim=1)


def dense_adjacency(graph: Graph) -> torch.Tensor:
    dense = torch.zeros(graph.nodes, graph.nodes, dtype=torch.float64)
    dense[graph.sources.astype(np.int64), graph.adjncy.astype(np.int64)] = torch.tensor(graph.adjwgt).double()
    return dense


@pytest.mark.parametrize("seed", range(5))
def test_a_hard_partition_costs_what_judge_says(seed: int) -> None:
    graph = generate_graph(f"geometric:n=80,seed={seed}")
    part = np.random.default_rng(seed).permutation(80) % 4
    adjacency, degree, weight = tensors(graph)
    y = torch.nn.functional.one_hot(torch.tensor(part), 4).double()
    metrics = judge_partition(graph, part, 4, 0.03).metrics
    assert float(expected_ncut(y, adjacency, degree)) == pytest.approx(metrics["ncut"], abs=1e-12)
    assert 1 - float(expected_imbalance(y, weight)) == pytest.approx(metrics["balancedness"], abs=1e-12)


def test_an_even_spread_is_balanced_and_cuts_everything() -> None:
    adjacency, degree, weight = tensors(tiny())
    y = torch.full((6, 3), 1 / 3, dtype=torch.float64)
    assert float(expected_ncut(y, adjacency, degree)) == pytest.approx(2.0, abs=1e-12)
    assert float(expected_imbalance(y, weight)) == pytest.approx(0.0, abs=1e-12)


def test_the_sparse_loss_equals_the_dense_formula_of_the_paper() -> None:
    graph = tiny()
    adjacency, degree, weight = tensors(graph)
    y, dense = soft(graph, 3), dense_adjacency(graph)
    ncut = ((y / (degree @ y)) @ (1 - y).T * dense).sum()
    share = weight.sum() / 3
    balance = ((weight @ y - share) ** 2).sum() / (3 * share**2)
    torch.testing.assert_close(gap_loss(y, adjacency, degree, weight, 2.0), ncut + 2.0 * balance)


def test_the_gradient_of_the_loss() -> None:
    graph = tiny()
    adjacency, degree, weight = tensors(graph)
    y = soft(graph, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: gap_loss(y, adjacency, degree, weight, 1.5), (y,))


def test_collapse_into_one_part_stays_finite() -> None:
    adjacency, degree, weight = tensors(tiny())
    y = torch.zeros(6, 3, dtype=torch.float64)
    y[:, 0] = 1
    y.requires_grad_()
    loss = gap_loss(y, adjacency, degree, weight, 1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2 + 2)  # two empty parts count 1 each; balance (4 + 1 + 1) / 3
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("norm", NORMS)
def test_operators_equal_dense_products_both_ways(norm: str) -> None:
    graph = tiny()
    dense, degree = dense_adjacency(graph), torch.tensor(graph.degree).double().clamp_min(1)
    if norm == "row":
        dense = dense / degree[:, None]
    if norm == "symmetric":
        dense = dense / (degree[:, None] * degree).sqrt()
    operator = graph_operator(graph, norm, torch.float64)
    x = soft(graph, 4).requires_grad_()
    torch.testing.assert_close(multiply(operator, x), dense @ x)
    assert torch.autograd.gradcheck(lambda x: multiply(operator, x), (x,))


def test_a_stack_of_graphs_acts_like_its_parts() -> None:
    graphs = [tiny(), generate_graph("grid:n=12"), from_edges("alone", 1, [], [])]
    stacked, member = stack_graphs(graphs)
    x = soft(stacked, 3)
    whole = multiply(graph_operator(stacked, "row", torch.float64), x)
    for i, graph in enumerate(graphs):
        rows = torch.tensor(member == i)
        torch.testing.assert_close(whole[rows], multiply(graph_operator(graph, "row", torch.float64), x[rows]))
    assert (stacked.nodes, stacked.edges) == (sum(g.nodes for g in graphs), sum(g.edges for g in graphs))
