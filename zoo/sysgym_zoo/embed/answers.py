"""Maintainers' command that writes the tables of answers by length: `python -m sysgym_zoo.embed answers`.

Every decoder answers the held-out messages once, chunk by chunk; figures are of all answers together, then of those
of one length, as Shao et al. (EMNLP 2017) compare theirs. The true answers stand beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from sysgym import make_problem
from sysgym.core.instances import expand
from sysgym.core.problem import Array
from sysgym.response_decoding.worth import likelihoods, metrics_of
from sysgym_agents.core import Budget
from sysgym_zoo.jobs.console import markdown
from sysgym_zoo.jobs.report import update
from sysgym_zoo.lookup.reference import pages
from sysgym_zoo.lookup.resolve import build_agent

PROBLEM, INSTANCES, HUMAN = "ResponseDecoding", "selfdialogue/test", "true answers"
AGENTS = ("response-greedy", "beam", "sampling", "beam-rerank", "response-logp", "response-mmi", "stochastic-rerank",
          "fresh-rerank")  # fmt: skip
EDGES = (0, 20, 40, 60, 80, 10**6)  # characters
Answers = list[tuple[str, Array]]  # texts, and log P (Q,) of each under Phi


def answered(problem: Any, names: Sequence[str], agent: Any) -> Answers:
    """What an agent, or None for the true answers, says to the messages of instances."""
    found: Answers = []
    for place, name in enumerate(names):
        instance, rng = problem.load(name), np.random.default_rng([0, place])  # noise of its own: chunks are joined
        texts = instance.references
        if agent is not None:
            solution = agent.agent.solve(problem, instance, rng, Budget())
            texts = [row["answer"] for row in problem.legend(instance, solution)]
        asked = list(zip(problem.samples(instance), texts, strict=True))
        found += zip(texts, likelihoods(problem.model_of(instance), asked), strict=True)
    return found


def line(answers: Answers) -> dict[str, Any]:
    """Figures of answers together."""
    told = metrics_of([text for text, _ in answers], [logp for _, logp in answers])
    told["log P"] = told.pop("logprob") / len(answers)
    return {"n": len(answers), **told}


def tables(found: dict[str, Answers]) -> tuple[str, str]:
    """All answers, a line a decoder; and a line for each decoder and length."""
    whole = [{"decoder": name, **line(answers)} for name, answers in found.items()]
    parts = []
    for low, high in pairwise(EDGES):
        for name, answers in found.items():
            inside = [each for each in answers if low <= len(each[0]) < high]
            if inside:
                length = f"{low}-{high}" if high < EDGES[-1] else f"{low}+"
                row = line(inside)
                shown = {key: row[key] for key in ("n", "mmi", "distinct2", "first", "log P")}
                parts.append({"characters": length, "decoder": name, **shown})
    return markdown(whole), markdown(parts)


def main() -> None:
    """Put both tables on the problem's page."""
    problem = make_problem(PROBLEM)
    names = expand(problem.instance_sets(), INSTANCES)
    found = {name: answered(problem, names, build_agent(name, problem)) for name in AGENTS}
    whole, parts = tables(found | {HUMAN: answered(problem, names, None)})
    page = pages()[f"{problem.name}-v{problem.version}"]
    note = f"\n\n{PROBLEM} on {INSTANCES}, {len(names)} instances, all messages together; one answer each."
    update(page, "answers-all", whole + note)
    update(page, "answers-lengths", parts + note)
    print(page)


if __name__ == "__main__":
    main()
