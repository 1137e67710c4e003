"""Placeto: a policy that improves a placement unit by unit (Addanki et al., NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from sysgym.core.options import Choices, Range, Search
from sysgym.dataflow.graphs.graph import DataflowGraph
from sysgym_agents.dataflow.placement_learner import NetOverTypes, PlacementLearner, Trainer
from sysgym_agents.learning.devices import device_for
from sysgym_agents.learning.learner import StoredLearner
from sysgym_agents.learning.memory import afford

if TYPE_CHECKING:
    from sysgym.dataflow.problem import GraphProblem
    from sysgym_agents.dataflow.placeto_net import PlacetoNet


@dataclass(kw_only=True, eq=False)
class Placeto(PlacementLearner, NetOverTypes, StoredLearner):
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

    name: ClassVar[str] = "placeto"
    step: ClassVar[str] = "a simulated placement (an episode counts at least as many as it has moves)"
    indivisible: ClassVar[str] = "a move of all episodes, or one gradient step on them"

    hidden: Annotated[int, Range(1, 1024)] = 32
    rounds: Annotated[int, Range(0, 64)] = 4
    episodes: Annotated[int, Range(1, 1024), Choices(2, 4, 8)] = 4
    epochs: Annotated[int, Range(1, 1000), Search(1, 12)] = 8
    start: Literal["single", "random"] = "single"
    learning_rate: Annotated[float, Range(1e-12, 1e3), Search(3e-4, 1e-2, log=True)] = 3e-3
    discount: Annotated[float, Range(0.0, 1.0), Choices(0.8, 0.9, 0.95, 0.99)] = 0.9
    entropy: Annotated[float, Range(0.0, 1e3), Search(0.01, 1.0, log=True)] = 0.1
    penalty: Annotated[float, Range(0.0, 1e6)] = 2.0
    clip: Annotated[float, Range(1e-6, 1e6)] = 1.0
    samples: Annotated[int, Range(1, 10**9)] = 1_000
    simulations: Annotated[int, Range(1, 10**9)] = 40_000
    solve_simulations: Annotated[int, Range(1, 10**9)] = 3_000

    def make_net(self, vocabulary: int) -> PlacetoNet:
        """Messages and policy."""
        from sysgym_agents.dataflow.placeto_net import PlacetoNet

        return PlacetoNet(vocabulary, self.hyper["hidden"], self.hyper["rounds"])

    def make_trainer(
        self,
        net: PlacetoNet,
        vocabulary: Sequence[str],
        problem: GraphProblem,
        instances: Sequence[DataflowGraph],
        seed: int,
    ) -> Trainer:
        """REINFORCE on graphs."""
        from sysgym_agents.dataflow.placeto_net import make_row, work_of
        from sysgym_agents.dataflow.placeto_train import PlacetoTrainer, Reinforce

        rows = [make_row(work_of(problem, graph), vocabulary) for graph in instances]
        units = max(row.example.work.units.count for row in rows)  # each step keeps all of them, 12 bytes a unit
        needed = 12.0 * self.hyper["episodes"] * units**2
        afford(needed, f"an update of agent {self.name!r} on a graph of {units} units", "episodes")
        device, hyper = (
            device_for(units * self.hyper["episodes"]),
            {name: self.hyper[name] for name in Reinforce._fields},
        )
        return PlacetoTrainer(net.to(device), [row.to(device) for row in rows], Reinforce(**hyper), seed)
