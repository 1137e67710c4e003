"""HDP: a hierarchical model that groups operators and places the groups (Mirhoseini et al., ICLR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_agents.dataflow.placement_learner import PlacementLearner, Trainer

if TYPE_CHECKING:
    from sysgym_agents.dataflow.hdp_net import HdpNet


class HDP(PlacementLearner):
    """Draws a group for each operator with a feed-forward network, and a device for each group with an attentive LSTM.

    Both learn by REINFORCE from -sqrt(cost), compared with a moving average. Without weights, `solve` trains on the
    instance itself. Weights fit graphs of any size and any number of devices. A `fit` with weights goes on from them.

    Hyper-parameters (in brackets those of the paper or its code where they differ):
        hidden, grouper, groups: width of the placer (512) and of the grouper; groups at most (256).
        spread: deviation of the grouper's first logits.
        temperature, tanh: logits of devices are tanh * tanh(scores / temperature) (tanh 1).
        groupings, placements: drawn for each update; placements are drawn for each grouping.
        learning_rate, decay, entropy, clip: of Adam (0.1); of the moving average; bonus (0); of the gradient's norm.
        warm: steps in which the grouper first imitates chunks of layers, without simulations (0).
        imitate: weight of the log-likelihood of the best decision so far (0).
        simulations, solve_simulations: in `fit` and in `solve` without weights, where the budget names no limit.
        samples: simulations of `solve` with weights, where the budget names no limit.
    """

    name = "hdp"
    whole: ClassVar = {
        "hidden": (2, 1024), "grouper": (1, 4096), "groups": (1, 1024), "groupings": (1, 1024),
        "placements": (1, 1024), "warm": (0, 10**6), "samples": (1, 10**9), "simulations": (1, 10**9),
        "solve_simulations": (1, 10**9),
    }  # fmt: skip
    real: ClassVar = {
        "spread": (0.0, 100.0), "temperature": (1e-3, 1e3), "tanh": (1e-3, 1e3), "learning_rate": (1e-12, 1e3),
        "decay": (0.0, 1.0), "entropy": (0.0, 1e3), "clip": (1e-6, 1e6), "imitate": (0.0, 1e3),
    }  # fmt: skip

    def __init__(
        self,
        *,
        hidden: int = 64,
        grouper: int = 64,
        groups: int = 32,
        spread: float = 0.3,
        temperature: float = 1.0,
        tanh: float = 5.0,
        groupings: int = 4,
        placements: int = 4,
        learning_rate: float = 2e-3,
        decay: float = 0.9,
        entropy: float = 0.01,
        clip: float = 1.0,
        warm: int = 400,
        imitate: float = 0.3,
        samples: int = 64,
        simulations: int = 20_000,
        solve_simulations: int = 2_000,
    ) -> None:
        super().__init__(
            hidden=hidden, grouper=grouper, groups=groups, spread=spread, temperature=temperature, tanh=tanh,
            groupings=groupings, placements=placements, learning_rate=learning_rate, decay=decay, entropy=entropy,
            clip=clip, warm=warm, imitate=imitate, samples=samples, simulations=simulations,
            solve_simulations=solve_simulations,
        )  # fmt: skip

    def make_net(self, vocabulary: int) -> HdpNet:
        """Grouper and placer."""
        from sysgym_agents.dataflow.hdp_net import HdpNet

        h = self.hyper
        return HdpNet(vocabulary, h["hidden"], h["grouper"], h["groups"], h["spread"], h["temperature"], h["tanh"])

    def make_trainer(
        self, net: HdpNet, vocabulary: Sequence[str], problem: Any, instances: Sequence[DataflowGraph], seed: int
    ) -> Trainer:
        """REINFORCE on graphs."""
        from sysgym_agents.dataflow.hdp_net import make_ops
        from sysgym_agents.dataflow.hdp_train import HdpTrainer, Reinforce

        h = self.hyper
        hyper = Reinforce(h["groupings"], h["placements"], h["learning_rate"], h["decay"], h["entropy"], h["clip"],
                          h["warm"], h["imitate"])  # fmt: skip
        return HdpTrainer(net, [make_ops(problem.job(graph), vocabulary) for graph in instances], hyper, seed)
