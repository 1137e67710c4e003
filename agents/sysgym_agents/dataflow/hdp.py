"""HDP: a hierarchical model that groups operators and places the groups (Mirhoseini et al., ICLR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from sysgym.core.options import Choices, Range, Search
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_agents.dataflow.placement_learner import NetOverTypes, PlacementLearner, Trainer
from sysgym_agents.learning.devices import device_for
from sysgym_agents.learning.learner import StoredLearner
from sysgym_agents.learning.memory import afford

if TYPE_CHECKING:
    from sysgym.dataflow.problem import GraphProblem
    from sysgym_agents.dataflow.hdp_net import HdpNet


@dataclass(kw_only=True, eq=False)
class HDP(PlacementLearner, NetOverTypes, StoredLearner):
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

    name: ClassVar[str] = "hdp"
    step: ClassVar[str] = "a simulated placement"
    indivisible: ClassVar[str] = "an update: one pass of the network over the graph, and its gradient"

    hidden: Annotated[int, Range(2, 1024)] = 64
    grouper: Annotated[int, Range(1, 4096)] = 64
    groups: Annotated[int, Range(1, 1024)] = 32
    spread: Annotated[float, Range(0.0, 100.0)] = 0.3
    temperature: Annotated[float, Range(1e-3, 1e3), Search(0.5, 2.0, log=True)] = 1.0
    tanh: Annotated[float, Range(1e-3, 1e3)] = 5.0
    groupings: Annotated[int, Range(1, 1024)] = 4
    placements: Annotated[int, Range(1, 1024)] = 4
    learning_rate: Annotated[float, Range(1e-12, 1e3), Search(3e-4, 1e-2, log=True)] = 2e-3
    decay: Annotated[float, Range(0.0, 1.0), Choices(0.8, 0.9, 0.95)] = 0.9
    entropy: Annotated[float, Range(0.0, 1e3), Search(1e-3, 0.1, log=True)] = 0.01
    clip: Annotated[float, Range(1e-6, 1e6)] = 1.0
    warm: Annotated[int, Range(0, 10**6)] = 400
    imitate: Annotated[float, Range(0.0, 1e3), Search(0.0, 1.0)] = 0.3
    samples: Annotated[int, Range(1, 10**9)] = 64
    simulations: Annotated[int, Range(1, 10**9)] = 20_000
    solve_simulations: Annotated[int, Range(1, 10**9)] = 2_000

    def make_net(self, vocabulary: int) -> HdpNet:
        """Grouper and placer."""
        from sysgym_agents.dataflow.hdp_net import HdpNet

        h = self.hyper
        return HdpNet(vocabulary, h["hidden"], h["grouper"], h["groups"], h["spread"], h["temperature"], h["tanh"])

    def make_trainer(
        self,
        net: HdpNet,
        vocabulary: Sequence[str],
        problem: GraphProblem,
        instances: Sequence[DataflowGraph],
        seed: int,
    ) -> Trainer:
        """REINFORCE on graphs."""
        from sysgym_agents.dataflow.hdp_net import make_ops
        from sysgym_agents.dataflow.hdp_train import HdpTrainer, Reinforce

        h = self.hyper
        hyper = Reinforce(h["groupings"], h["placements"], h["learning_rate"], h["decay"], h["entropy"], h["clip"],
                          h["warm"], h["imitate"])  # fmt: skip
        ops = [make_ops(problem.job(graph), vocabulary) for graph in instances]
        operators, rows = max(len(each.inputs) for each in ops), h["groupings"] * h["placements"]
        needed = h["groupings"] * (operators * 16.0 + h["groups"] ** 2 * 24.0)
        needed += rows * (operators * 24.0 + h["groups"] * h["hidden"] * 16.0)
        afford(needed, f"an update of agent {self.name!r}", "groupings, placements or groups")
        device = device_for(operators * h["groupings"])
        return HdpTrainer(net.to(device), [each.to(device) for each in ops], hyper, seed)
