"""What the best hypothesis of a beam would be worth: a bound, and no agent that may compete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Range
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget
from sysgym_agents.decoding.classical import TRANSLATION, answered, refuse_steering

if TYPE_CHECKING:
    from sysgym.text.episodes.rows import Writing
    from sysgym.text.episodes.sentences import Sentences


class Oracle:
    """Inadmissible: of a beam's hypotheses it takes for each sentence the one that the reference scores best. It shows
    how much a better choice among them could gain, and how much of that none can know.
    """

    problems = TRANSLATION
    step = ""
    indivisible = "the whole answer"
    admissible = False

    def __init__(self, *, width: Annotated[int, Range(1, 256)] = 10) -> None:
        self.width = width

    def solve(self, problem: Writing, instance: Sentences, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best-scored hypothesis of each sentence; UsageError without references."""
        from sysgym.text.search import Beam, beam_search

        refuse_steering("oracle", problem)
        model, task = problem.model_of(instance), problem.task(instance)
        if task.score is None:
            raise UsageError(
                f"agent 'oracle' chooses by references, and {instance.name} has none: give references=FILE."
            )
        found, places = beam_search(model, task.sources, Beam(width=self.width), max(task.limits)), list[int]()
        for row in range(len(task.sources)):
            there = np.flatnonzero(found.scores[row] > -np.inf).tolist()
            texts = [model.text(found.best(row, place)) for place in there]
            costs = [task.score.cost(task.score.of(row, text)) for text in texts]
            places.append(there[int(np.argmin(costs))])
        return answered(problem, instance, found, np.array(places))
