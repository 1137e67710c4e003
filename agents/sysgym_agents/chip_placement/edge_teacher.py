"""What `edge-gnn` imitates before it plays: of each netlist, the best of several greedy packings.

A packing winds along the border from one of four corners in one of two directions, ring after ring of cells or by the
distance of a macro's edge from the border, and may heed the wires. It says what to do in any state, so that states
that a slip leads to are taught too. Costs are told as a ratio to the packing that `spiral` makes of the same netlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sysgym.core.env import ProblemEnv
from sysgym.core.errors import UsageError, announce
from sysgym.core.problem import AnyProblem, Array, Instance
from sysgym_agents.chip_placement.edge_net import WAYS, EdgeNet, windings
from sysgym_agents.core import Budget, Clock
from sysgym_agents.general.sb3.training import Setup, Weights, make_policy, put_weights, weights_of
from sysgym_agents.learning.devices import device_for

WIRE, BORDER = 2, 3  # columns of a cell's features
FIRST, KEPT, SLIPS = 2, 16, 0.15  # steps of an episode that are always kept, kept in all; share of slips in every other
BATCH, STEPS, PACE = 16, 3000, 3e-3


class Packing(NamedTuple):
    """A rule: cells of the lowest score are the best."""

    way: int = 0
    ring: float = 1.0  # weight of the ring of a cell's centre, 1: ring after ring
    edge: float = 0.0  # weight of the distance between the macro's edge and the border
    wire: float = 0.0

    def score(self, obs: dict[str, Array]) -> Array:
        """Of each cell, (A,)."""
        cells = torch.from_numpy(obs["candidates"])[None]
        order = windings(cells, torch.from_numpy(obs["globals"])[None])[0].numpy().astype(np.float64)
        more = self.edge * obs["candidates"][:, BORDER] + self.wire * obs["candidates"][:, WIRE]
        found: Array = self.ring * order[:, 0] + order[:, 1 + self.way] + more
        return found

    def choose(self, obs: dict[str, Array]) -> int:
        """The best legal cell."""
        return int(np.where(obs["action_mask"], self.score(obs), np.inf).argmin())


def rules(rng: np.random.Generator, count: int) -> list[Packing]:
    """`count` packings to try: every way ring by ring, `spiral`'s first, then others drawn."""
    found = [Packing(way) for way in range(WAYS)][:count]
    for _ in range(count - len(found)):
        way, wire = int(rng.integers(WAYS)), float(rng.choice((0.0, 0.2)))
        found.append(Packing(way, 0.0, 20.0, wire) if rng.random() < 0.5 else Packing(way, 1.0, 0.0, wire))
    return found


Row = tuple[dict[str, Array], int]  # an observation, and the cell that the teacher chooses


def _episode(
    env: ProblemEnv, chip: Instance, rng: np.random.Generator, rule: Packing, slips: float = 0.0
) -> tuple[list[Row], float]:
    """What is seen and taught, and the cost; infinite where the end is infeasible."""
    obs, _ = env.reset(seed=int(rng.integers(2**31)), options={"instance": chip})
    rows, over = [], False
    while not over:
        taught = rule.choose(obs)
        rows.append((obs, taught))
        slip = rng.random() < slips
        obs, _, over, _, info = env.step(int(rng.choice(np.flatnonzero(obs["action_mask"]))) if slip else taught)
    verdict = info["verdict"]
    return rows, verdict["cost"] if verdict["feasible"] else np.inf


def _thinned(rows: list[Row], rng: np.random.Generator) -> list[Row]:
    more = FIRST + rng.permutation(max(len(rows) - FIRST, 0))[: KEPT - FIRST]
    return [rows[i] for i in (*range(min(FIRST, len(rows))), *sorted(more.tolist()))]


def teach(env: ProblemEnv, count: int, rng: np.random.Generator, clock: Clock) -> tuple[list[Row], list[float]]:
    """Rows of the best of `count` packings of each netlist, and its cost over that of `spiral`'s packing."""
    found, ratios = [], []
    for position in rng.permutation(env.instances.sampled).tolist():
        if clock.spent():
            break
        chip = env.instances.items[position]
        tried = rules(rng, count)
        costs = [_episode(env, chip, rng, rule)[1] for rule in tried]
        best = int(np.argmin(costs))
        if not np.isfinite(costs[best]):
            continue
        ratios.append(costs[best] / costs[0])
        for slips in (0.0, SLIPS):
            found += _thinned(_episode(env, chip, rng, tried[best], slips)[0], rng)
    return found, ratios


def netlists(problem: AnyProblem, instances: Sequence[Instance], generated: int) -> list[Instance]:
    """The instances; with `generated` ones also those, and the instances as they look turned, where they can be."""
    from sysgym.chip_placement.turned import turned

    found: list[Instance] = list(instances)
    for chip in instances if generated else ():
        try:
            found += [turned(chip, way) for way in range(1, WAYS)]
        except UsageError as error:
            announce(f"{error} It is trained on as it stands alone.")
    return found + [problem.load(f"modules:seed={seed}") for seed in range(generated)]


def imitate(
    setup: Setup, problem: AnyProblem, instances: Sequence[Instance], begin: Weights | None,
    rng: np.random.Generator, count: int, budget: Budget,
) -> tuple[Weights, dict[str, float]]:  # fmt: skip
    """Weights that imitate the best of `count` packings, and what was taught; half of the time may go to finding them.

    What was taught: `rows`, the share of them that is `right` at last, and the `ratio` of the teachers' costs to those
    of `spiral`'s packings (geometric mean).
    """
    clock = Clock(budget)
    env = ProblemEnv(problem, instances=list(instances), obs="dynamic")
    device = device_for(BATCH * max(problem.size(item).nodes for item in instances))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        policy = make_policy(setup, env).to(device)
        if begin is not None:
            put_weights(policy, begin)
        net: EdgeNet = policy.net
        rows, ratios = teach(env, count, rng, Clock(budget.share(0.5)))
        begun, right = min(clock.share, 0.99), 0.0
        optimiser = torch.optim.Adam(net.parameters(), lr=PACE)
        for step in range(STEPS if rows else 0):
            if clock.spent():
                break
            share = max(step / STEPS, (clock.share - begun) / (1 - begun))
            for group in optimiser.param_groups:
                group["lr"] = PACE * (1 - 0.95 * share)
            net.train(True, statistics=share < 0.5)
            chosen = [rows[i] for i in rng.integers(0, len(rows), BATCH)]
            obs = {key: torch.from_numpy(np.stack([o[key] for o, _ in chosen])).to(device) for key in chosen[0][0]}
            wanted = torch.tensor([action for _, action in chosen], device=device)
            scores = net.act(obs, net.encode(obs))[:, :, 0]
            loss = cross_entropy(scores, wanted)
            right = 0.98 * right + 0.02 * float((scores.argmax(dim=1) == wanted).float().mean())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
        net.train(False)
        told = {"imitate/rows": float(len(rows)), "imitate/right": right}
        if ratios:
            told["imitate/ratio"] = float(np.exp(np.mean(np.log(ratios))))
        return weights_of(policy), told
