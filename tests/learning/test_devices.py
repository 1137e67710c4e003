"""The device of the process: what is asked for, what is used, and what stays the same wherever it is."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from away import AWAY, Away, Elsewhere, there_is

from sysgym.core.errors import UsageError
from sysgym.partitioning.problem import Partitioning
from sysgym_agents.learning import devices
from sysgym_agents.learning.devices import PAYS, described, device_for, drawn, dropped, placed, told, using, weights_of
from sysgym_agents.learning.layers import graph_operator, multiply
from sysgym_zoo.bench import gpu
from sysgym_zoo.jobs.runs import set_threads

CUDA = torch.cuda.is_available()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: AWAY)
    monkeypatch.setattr(devices, "named", lambda kind: "a GPU that is none")


def test_the_device_is_that_of_the_size(away: None) -> None:
    for wish, small, large in (("cpu", "cpu", "cpu"), ("auto", "cpu", "lazy"), ("cuda", "lazy", "lazy")):
        with using(wish):
            assert [device_for(rows).type for rows in (PAYS - 1, PAYS)] == [small, large]


def test_what_was_used_is_described_and_told(away: None) -> None:
    set_threads(1)
    with using("auto"):
        device_for(1)
        assert described() == {"asked": "auto", "device": "cpu", "threads": 1, "reproducible": True}
        assert told(described()) == ""
        with using("cpu"):
            device_for(PAYS)
            assert told(described()) == "device: cpu; 1 thread(s)."
        device_for(PAYS)
        facts = described()
        assert (facts["device"], facts["name"], facts["reproducible"]) == ("lazy", "a GPU that is none", False)
        assert "a GPU that is none" in told(facts) and "other results" in told(facts)


def test_what_cannot_be_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"'cuda' was asked for, and torch [^;]+; use --device cpu or auto"):
        devices.use("cuda")
    with pytest.raises(UsageError, match="unknown device 'gpu'"), using("gpu"):
        pass
    with using("auto"):
        assert device_for(10 * PAYS).type == "cpu"


def test_products_are_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as networks are computed on a GPU: cuDNN's own default is TF32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    before = torch.backends.cudnn.allow_tf32
    try:
        assert devices.accelerator() == torch.device("cuda", 0)
        assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_draws_are_torchs_own_and_the_same_elsewhere() -> None:
    shares = torch.softmax(torch.randn(9, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    for again in (False, True):
        own = torch.multinomial(shares, 2, again, generator=torch.Generator().manual_seed(3))
        with there_is():
            for given in (shares, shares.to(AWAY)):
                found = drawn(given, 2, torch.Generator().manual_seed(3), again=again)
                assert found.device == given.device and torch.equal(found.cpu(), own)
    for share in (0.0, 0.3):
        torch.manual_seed(5)
        own = torch.nn.functional.dropout(x, share)
        with there_is():
            for given in (x, x.to(AWAY)):
                torch.manual_seed(5)
                found = dropped(given, share)
                assert found.device == given.device and torch.allclose(found.cpu(), own)


def test_a_network_is_copied_only_to_another_device() -> None:
    net = torch.nn.Linear(3, 2)
    with there_is():
        other = placed(net, AWAY)
        assert placed(net, torch.device("cpu")) is net and devices.of(net).type == "cpu"
        assert isinstance(other.weight, Away) and placed(other, AWAY) is other
        weights = weights_of(other)
    assert all(type(value) is torch.Tensor for value in weights.values())
    assert torch.equal(weights["weight"], net.weight) and weights_of(net)["weight"].data_ptr() == net.weight.data_ptr()


def test_the_device_that_is_none_refuses_what_cuda_does() -> None:
    with there_is():
        x = torch.ones(3, 4, device=AWAY)
        calls = (
            lambda: x + torch.ones(3, 4), lambda: torch.nn.Linear(4, 2)(x), lambda: x[torch.tensor([0, 1])],
            lambda: torch.multinomial(x, 1), lambda: torch.nn.functional.dropout(x), lambda: torch.rand(3, device=AWAY),
            lambda: torch.cat([x, torch.zeros(1, 4)]),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(Elsewhere):
                call()
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        assert float((x + 1).sum()) == 24 and (x.cpu().numpy() == 1).all()


def test_sparse_products_are_made_without_a_word() -> None:
    """Newer torch warns of invariants that nobody checked; `set_warn_always` lets it do so every time."""
    graph = Partitioning().load("delaunay:n=60,seed=1")
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings(), there_is():
            warnings.simplefilter("error")
            here = graph_operator(graph, "row")
            x = torch.randn(graph.nodes, 3, requires_grad=True)
            found = multiply(here.to(AWAY), x.to(AWAY)).cpu()
            assert torch.allclose(found, multiply(here, x))
            assert graph_operator(graph, "none").to(AWAY).matrix.device == AWAY and here.to(x.device) is here
    finally:
        torch.set_warn_always(False)


def cases() -> list[gpu.Case]:
    """Those of `sysgym bench gpu`, small."""
    return [
        gpu.Case("attention", gpu.attention("seeds/wavenet_2s"), ""), gpu.Case("mesh", gpu.partitioner(300), ""),
        gpu.Case("policy", gpu.policy(2, 64), ""),
    ]  # fmt: skip


def test_the_benchmark_compares_the_same_steps(away: None) -> None:
    """On the CPU against itself losses are equal, on a device that is none nearly."""
    with there_is():
        for case in cases():
            for device, most in ((torch.device("cpu"), 0.0), (AWAY, 1e-3)):
                rows = gpu.compared(case, device, 3)
                assert [line["unit"] for line in rows] == ["s", "s", "x", ""] and rows[3]["met"]
                assert "3 steps" in rows[3]["what"] and rows[3]["value"] <= most
        assert [line["unit"] for line in gpu.rollouts(2, 64, 4, AWAY, "")] == ["steps/s", "steps/s", "x"]
    assert gpu.apart([1.0, 2.0], [1.0, 2.2]) == pytest.approx(0.1)


def test_without_a_gpu_the_benchmark_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "accelerator", lambda: None)
    with pytest.raises(UsageError, match=r"needs a GPU, and torch .*--quick"):
        gpu.rows(False)


@pytest.mark.skipif(not CUDA, reason="torch finds no GPU")
def test_losses_on_a_gpu_are_those_of_the_cpu() -> None:
    device = devices.accelerator()
    assert device is not None
    for case in cases():
        assert gpu.compared(case, device, 20)[3]["met"], case.what


@pytest.mark.skipif(not CUDA, reason="torch finds no GPU")
def test_a_gpu_multiplies_in_full_precision() -> None:
    device = devices.accelerator()
    a, b = (torch.randn(256, 256, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a.double() @ b.double()
    assert float(((a.to(device) @ b.to(device)).cpu() - exact).abs().max()) < 1e-3 < float(np.sqrt(256))
