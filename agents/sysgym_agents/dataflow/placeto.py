"""Placeto: a policy that improves a placement unit by unit (Addanki et al., NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sysgym.core.errors import unknown
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_agents.dataflow.placement_learner import PlacementLearner, Trainer

if TYPE_CHECKING:
    from sysgym_agents.dataflow.placeto_net import PlacetoNet

STARTS = ("single", "random")


class Placeto(PlacementLearner):
    """Visits every unit once and sets its device, by messages along the graph and what the last simulation told.

    A move earns what it takes off the cost. Episodes run in parallel and learn by REINFORCE, each step compared with
    the same step of the others. Units are the problem's, or chunks of layers if there are more than 512. The answer is
    the best placement that was simulated. Without weights, `solve` trains on the instance itself. Weights fit any
    graph and number of devices. A `fit` with weights goes on from them.

    Hyper-parameters (in brackets those of the paper or its code where they differ):
        hidden, rounds: width of embeddings; rounds of messages in each direction (8).
        episodes: in parallel. epochs: gradient steps on the same episodes, clipped as in PPO from the second on (1).
        start: where episodes begin, everything on one device ("single") or anywhere ("random").
        learning_rate: of Adam (1e-3), falls to a tenth. discount: of later gains (1).
        entropy: bonus at the start, falls to nothing. clip: of the gradient's norm.
        penalty: for each capacity's worth of bytes beyond memory, in costs of a single device.
        simulations, solve_simulations: in `fit` and in `solve` without weights, where the budget names no limit.
        samples: simulations of `solve` with weights, where the budget names no limit.
    """

    name = "placeto"
    whole: ClassVar = {
        "hidden": (1, 1024), "rounds": (0, 64), "episodes": (1, 1024), "epochs": (1, 1000), "samples": (1, 10**9),
        "simulations": (1, 10**9), "solve_simulations": (1, 10**9),
    }  # fmt: skip
    real: ClassVar = {
        "learning_rate": (1e-12, 1e3), "discount": (0.0, 1.0), "entropy": (0.0, 1e3), "penalty": (0.0, 1e6),
        "clip": (1e-6, 1e6),
    }  # fmt: skip

    def __init__(
        self,
        *,
        hidden: int = 32,
        rounds: int = 4,
        episodes: int = 4,
        epochs: int = 8,
        start: str = "single",
        learning_rate: float = 3e-3,
        discount: float = 0.9,
        entropy: float = 0.1,
        penalty: float = 2.0,
        clip: float = 1.0,
        samples: int = 1_000,
        simulations: int = 40_000,
        solve_simulations: int = 3_000,
    ) -> None:
        super().__init__(
            hidden=hidden, rounds=rounds, episodes=episodes, epochs=epochs, start=start, learning_rate=learning_rate,
            discount=discount, entropy=entropy, penalty=penalty, clip=clip, samples=samples, simulations=simulations,
            solve_simulations=solve_simulations,
        )  # fmt: skip
        if start not in STARTS:
            raise unknown("start", start, STARTS)

    def make_net(self, vocabulary: int) -> PlacetoNet:
        """Messages and policy."""
        from sysgym_agents.dataflow.placeto_net import PlacetoNet

        return PlacetoNet(vocabulary, self.hyper["hidden"], self.hyper["rounds"])

    def make_trainer(
        self, net: PlacetoNet, vocabulary: Sequence[str], problem: Any, instances: Sequence[DataflowGraph], seed: int
    ) -> Trainer:
        """REINFORCE on graphs."""
        from sysgym_agents.dataflow.placeto_net import make_row, work_of
        from sysgym_agents.dataflow.placeto_train import PlacetoTrainer, Reinforce

        rows = [make_row(work_of(problem, graph), vocabulary) for graph in instances]
        return PlacetoTrainer(net, rows, Reinforce(**{name: self.hyper[name] for name in Reinforce._fields}), seed)
