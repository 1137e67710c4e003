"""The choice of a translation network's configuration as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.instances import InstanceSet, load_index
from sysgym.core.problem import Array, ArraySpec, Axis, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays
from sysgym.nmt_architecture.catalogue import (
    TOPIC,
    is_configurations,
    load_configurations,
    made,
    published_figures,
)
from sysgym.nmt_architecture.files import USUAL
from sysgym.nmt_architecture.instance import Configurations, table


@complete
class NMTArchitecture:
    """Choose the configuration of a translation network by a few noisy evaluations.

    Description: the ablations of Britz et al. (EMNLP 2017, arXiv 1703.03906) as a search. cost = 100 - the mean quality
    (BLEU) of a configuration in a table; results that are seen on the way are noisy, the judge's cost is not. Backend
    `published`: six factors with the values of tables 2 to 7, so 105,600 configurations. One that differs from the
    baseline (GRU, embedding 512, Bidi-2, decoder 2, Mul-512, B10-LP-1.0) in at most one factor has the published mean
    and standard deviation; every other has BLEU = 21.78 + e_max + 0.3 x the other positive effects + the negative ones,
    from 0 to 100, and the root of the sum of its changes' published variances, 0.5 at most: a surrogate, fitted to what
    is published of the combined system. `table`: 216 small networks that were trained to write Arabic names in Latin
    letters, three seeds each; cost is the rate of wrong characters in percent. `live`: the same networks, or others of
    pairs of one's own, trained when they are asked for. `drawn`: random tables of the kind of the published one, to
    learn on. A file: a table of configurations with means and deviations, which has no others. Solution: `design`, (P,)
    rows of the table of values; as .json also the values by name, {"embedding": "512", "cell": "LSTM", ...}.

    Options:
        mode: "sequential" (one parameter's value a step, an evaluation after the last one) or "oneshot" (a whole
            configuration a step).

    Observation: nodes are the values of all parameters: place among those of its parameter (0 to 1), one over their
    number, one over the number of parameters; how often tried (share, log), untried, mean result over the mean and over
    the best of all, its best result over the best (signed log1p of points of cost), age of the last trial, whether
    chosen, in the best result, in the answer, of the parameter whose turn it is, its effect by a ridge regression of
    the results on the values, allowed. Edges join the values of a
    parameter. `candidates` are the same of the values to choose from. Globals: evaluations left (share, log), whether
    any is done, spread of results, mean over best, answer over best, last over best, trials of the answer, chosen
    values that differ from the answer, place in the configuration, parameters / 10, progress.

    Metrics: quality (points: BLEU, or 100 - the error rate), regret (cost less the least of the table; not of `live`,
    where nobody knows it), spread (standard deviation of one result), parameters (millions, where the network is known,
    else 0).

    Rewards: see `sysgym.core.rewards`; the scale is the baseline's cost, of `live` 100. The answer is the evaluated
    configuration of least mean result, and the first one of the table before any evaluation. Rewards compare true
    means, which observations do not show: they are for training. `reward="log"` pays log(baseline / cost) at the
    end: without the jumps of first evaluations it teaches more.
    Version history: v0, first release.
    """

    name = "NMTArchitecture"
    version = 0
    variants = ({"mode": "sequential"}, {"mode": "oneshot"})
    recommended_agent = "regularised-evolution"
    default_instances = "drawn/train"
    choice_names = ("parameters", "values of a parameter")
    tradeoff = (Axis("parameters", "parameters, millions"), Axis("quality", "quality, points", more=True))
    sealed = True

    mode: Literal["sequential", "oneshot"] = "sequential"

    @property
    def published(self) -> tuple[Mapping[str, str], ...]:
        """What Britz et al. report."""
        return published_figures()

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the chosen mode (imports numba)."""
        from sysgym.nmt_architecture.modes import choose_mode

        return choose_mode(self.mode)

    def load(self, name: Any) -> Configurations:
        """Configurations by registered name, recipe or file; UsageError if they cannot be had or are malformed."""
        return load_configurations(name)

    reads = staticmethod(is_configurations)

    def generate(self, rng: np.random.Generator) -> Configurations:
        """A random table, with noise of its own."""
        seed = int(rng.integers(2**31))
        return made(f"drawn:seed={seed}", "drawn", seed, USUAL)

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets by name."""
        return load_index(TOPIC)

    def size(self, instance: Configurations) -> Size:
        """Values of all parameters, pairs of values of the same one, parameters, and the most values of one."""
        counts = instance.space.counts
        return Size(int(counts.sum()), int((counts * (counts - 1)).sum()), (len(counts), int(counts.max())))

    def static(self, instance: Configurations) -> Mapping[str, Array]:
        """Features of the values (V, 3), and edges between those of the same parameter (E, 1)."""
        counts = instance.space.counts
        place = np.concatenate([np.arange(count) / max(count - 1, 1) for count in counts])
        even = np.repeat(1 / counts, counts)
        owner = np.repeat(np.arange(len(counts)), counts)
        source, target = np.nonzero((owner[:, None] == owner) & ~np.eye(len(owner), dtype=bool))
        return {
            "nodes": np.stack([place, even, np.full(len(place), 1 / len(counts))], axis=1).astype(np.float32),
            "edges": np.ones((len(source), 1), np.float32),
            "edge_index": np.stack([source, target]).astype(np.int32),
        }

    def solution_arrays(self, instance: Configurations) -> Mapping[str, ArraySpec]:
        """`design`: a row of the table of values for each parameter."""
        counts = instance.space.counts
        return {"design": ArraySpec((len(counts),), "int", 0, int(counts.max()) - 1, "the value of each parameter")}

    def judge(self, instance: Configurations, solution: Solution) -> Verdict:
        """Cost and metrics of a design (`judge_design`); InvalidSolution if it is none."""
        from sysgym.core.errors import InvalidSolution
        from sysgym.nmt_architecture.judge import judge_design

        design = check_arrays(self.solution_arrays(instance), solution)["design"]
        counts = instance.space.counts
        beyond = np.flatnonzero(design >= counts)
        if len(beyond):
            at = int(beyond[0])
            name = instance.space.parameters[at]
            raise InvalidSolution(f"{name} has {counts[at]} values, rows 0 to {counts[at] - 1}; got {design[at]}.")
        return judge_design(instance, design)

    def reference_costs(self, instance: Configurations) -> Mapping[str, float]:
        """The baseline, and the best of the table; nothing where both would have to be trained first."""
        if instance.task is not None:
            return {}
        found = table(instance.space)
        return {
            "baseline": float(found.cost[found.number(instance.space.baseline)]),
            "best": float(found.cost[found.best]),
        }

    def named_solution(self, instance: Configurations, content: Mapping[str, Any]) -> Solution:
        """A design by the names and values of its parameters; InvalidSolution names a wrong one."""
        return {"design": instance.space.design(content)}

    def legend(self, instance: Configurations, solution: Solution) -> list[dict[str, Any]]:
        """The parameters and their values."""
        chosen = instance.space.named(solution["design"])
        return [{"parameter": name, "value": value} for name, value in chosen.items()]

    def render(self, instance: Configurations, solution: Solution) -> Array:
        """What each other value would give instead, with the scatter of its results, as a picture."""
        from sysgym.nmt_architecture.render import draw

        return draw(instance, solution, self.judge(instance, solution))

    def describe(self, instance: Configurations, solution: Solution) -> str:
        """The values, and the best that a change of one of them would bring, as text."""
        from sysgym.nmt_architecture.render import describe

        return describe(instance, solution, self.judge(instance, solution))
