"""Searches of other libraries: CMA-ES (`cma`), TPE (`optuna`) and NSGA-II (`pymoo`), the extra `searches`."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from sysgym.accelerator_design.space import COUNTS, NAMES, machines
from sysgym.core.errors import MissingDependency
from sysgym.core.options import Range
from sysgym.core.problem import Array, Solution
from sysgym_agents.accelerator_design.searches import USUAL, import_solver, random_designs
from sysgym_agents.accelerator_design.swarm import rows_of
from sysgym_agents.core import Budget

if TYPE_CHECKING:
    from sysgym.accelerator_design.instance import Workloads
    from sysgym.accelerator_design.problem import AcceleratorDesign
    from sysgym_agents.accelerator_design.evaluations import Evaluations

MOST_PEOPLE = 1000  # of a generation, however often a search began anew
STALE = 20  # rounds in a row without a new design, after which a search is begun anew
STEP = "an evaluation: a design whose cost the greedy model finds"


def _library(agent: str, name: str) -> Any:
    """The library of an agent; MissingDependency without it."""
    try:
        return import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise MissingDependency(f"agent {agent!r} needs {library}: pip install 'sysgym[searches]'.") from error


class _Search:
    """What they share: a budget of evaluations, and restarts."""

    problems = ("AcceleratorDesign",)
    step = STEP
    indivisible = "a generation, or a design that is judged exactly"
    name, library = "", ""
    modules: tuple[str, ...] = ()  # of the library, besides

    def prepare(self) -> None:
        """Import the library and the kernels."""
        import_solver()
        for name in (self.library, *self.modules):
            _library(self.name, name)

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best design, by the judge; MissingDependency without the library."""
        from sysgym_agents.accelerator_design.evaluations import Evaluations

        library = _library(self.name, self.library)
        evaluate = Evaluations(problem, instance, budget, USUAL)
        while not evaluate.spent:
            before = evaluate.count
            self._search(library, evaluate, rng)
            if evaluate.count == before:
                evaluate(evaluate.fitting(random_designs(rng, 1), rng))
        return evaluate.answer()

    def _search(self, library: Any, evaluate: Evaluations, rng: np.random.Generator) -> None:
        """One search, until it is over or nothing more may be evaluated."""
        raise NotImplementedError


class CMAES(_Search):
    """CMA-ES (Hansen 2016) by `cma`, on the unit cube of parameters; restarted with twice the population."""

    name, library = "cma-es", "cma"

    def __init__(self, *, sigma: Annotated[float, Range(1e-3, 10)] = 0.3) -> None:
        self.sigma = sigma
        self._largest = 0

    def solve(
        self, problem: AcceleratorDesign, instance: Workloads, rng: np.random.Generator, budget: Budget
    ) -> Solution:
        """The best design, by the judge; MissingDependency without the library."""
        self._largest = 0
        return super().solve(problem, instance, rng, budget)

    def _search(self, library: Any, evaluate: Evaluations, rng: np.random.Generator) -> None:
        options = {"bounds": [0, 1], "seed": int(rng.integers(1, 2**31)), "verbose": -9, "verb_log": 0}
        if self._largest:
            options["popsize"] = min(2 * self._largest, MOST_PEOPLE)
        found = library.CMAEvolutionStrategy(rng.random(len(COUNTS)), self.sigma, options)
        self._largest, still = found.popsize, 0
        while not evaluate.spent and not found.stop() and still < STALE:
            before, points = evaluate.count, found.ask()
            costs = evaluate(evaluate.fitting(rows_of(np.array(points)), rng))
            found.tell(points, np.minimum(costs, 1e13).tolist())
            still = still + 1 if evaluate.count == before else 0


class TPE(_Search):
    """The tree-structured Parzen estimator (Bergstra et al. 2011) by `optuna`, over rows of the table."""

    name, library = "tpe", "optuna"
    indivisible = "a suggestion, or a design that is judged exactly"

    def __init__(self, *, startup: Annotated[int, Range(1, 10_000)] = 50) -> None:
        self.startup = startup

    def _search(self, library: Any, evaluate: Evaluations, rng: np.random.Generator) -> None:
        library.logging.set_verbosity(library.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", library.exceptions.ExperimentalWarning)
            sampler = library.samplers.TPESampler(
                n_startup_trials=self.startup, multivariate=True, seed=int(rng.integers(2**31))
            )
        study, still = library.create_study(sampler=sampler), 0
        ranges = {name: library.distributions.IntDistribution(0, int(count) - 1) for name, count in
                  zip(NAMES, COUNTS, strict=True)}  # fmt: skip
        while not evaluate.spent and still < STALE:
            before, trial = evaluate.count, study.ask(ranges)
            design = evaluate.fitting(np.array([[trial.params[name] for name in NAMES]]), rng)
            cost = float(min(evaluate(design)[0], 1e13))
            shown = {name: int(value) for name, value in zip(NAMES, design[0], strict=True)}
            if shown != trial.params:  # what was evaluated is another design
                study.tell(trial, state=library.trial.TrialState.FAIL)
                study.add_trial(library.trial.create_trial(params=shown, distributions=ranges, value=cost))
            else:
                study.tell(trial, cost)
            still = still + 1 if evaluate.count == before else 0


class NSGA2(_Search):
    """NSGA-II (Deb et al. 2002) by `pymoo`: a front of cost, power and area, of which the least cost is the answer."""

    name, library = "nsga2", "pymoo.algorithms.moo.nsga2"
    modules = ("pymoo.operators.crossover.ux", "pymoo.operators.repair.rounding", "pymoo.operators.mutation.pm",
               "pymoo.problems.static", "pymoo.core.evaluator", "pymoo.core.problem")  # fmt: skip

    def __init__(self, *, population: Annotated[int, Range(4, 10_000)] = 50) -> None:
        self.population = population

    def _search(self, library: Any, evaluate: Evaluations, rng: np.random.Generator) -> None:
        problems = import_module("pymoo.core.problem")
        crossover = import_module("pymoo.operators.crossover.ux").UniformCrossover()
        rounding = import_module("pymoo.operators.repair.rounding").RoundingRepair()
        mutation = import_module("pymoo.operators.mutation.pm").PolynomialMutation(prob_var=0.12, repair=rounding)
        static = import_module("pymoo.problems.static").StaticProblem
        evaluator = import_module("pymoo.core.evaluator").Evaluator()
        space = problems.Problem(n_var=len(COUNTS), n_obj=3, xl=0, xu=COUNTS - 1, vtype=int)
        found = library.NSGA2(
            pop_size=self.population, crossover=crossover, mutation=mutation,
            sampling=evaluate.fitting(random_designs(rng, self.population), rng),
        )  # fmt: skip
        found.setup(space, termination=("n_gen", 2**31), seed=int(rng.integers(2**31)), verbose=False)
        still = 0
        while not evaluate.spent and still < STALE:
            before, people = evaluate.count, found.ask()
            if people is None or not len(people):
                return
            designs = evaluate.fitting(np.asarray(people.get("X")).astype(np.int64), rng)
            people.set("X", designs)
            evaluator.eval(static(space, F=_aims(evaluate, designs)), people)
            found.tell(infills=people)
            still = still + 1 if evaluate.count == before else 0


def _aims(evaluate: Evaluations, designs: Array) -> Array:
    """Cost, watts and mm2 of designs, (n, 3)."""
    from sysgym.accelerator_design.fastsim_kernels import area_and_power

    sizes = np.array([area_and_power(row) for row in machines(designs)])
    return np.column_stack([np.minimum(evaluate(designs), 1e13), sizes[:, 1], sizes[:, 0]])
