"""Pictures of the best solutions of a board, drawn by its problem."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sysgym.core.errors import SysgymError
from sysgym.core.problem import AnyProblem
from sysgym.core.solutions import restricted
from sysgym_leaderboards.board import Board
from sysgym_leaderboards.store import Store
from sysgym_leaderboards.submissions import Submission, read_bytes


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    file: str  # name beside the page
    png: bytes
    size: tuple[int, int]  # width, height in pixels
    instance: str
    agent: str
    cost: float
    reference: float


def best_solutions(store: Store, board: Board, report: Mapping[str, Any], limit: int) -> list[Picture]:
    """The best feasible solution of each of the first `limit` instances; data that is not here is left out."""
    problem, opened, drawn = board.make_problem(), dict[int, Submission](), list[Picture]()
    freedom = board.freedom_in(problem)
    for index, name in enumerate(report["board"]["expanded"]):
        results = [(line, result) for line in report["standings"] for result in line["results"]]
        found = [(r["cost"], line["number"], line, r) for line, r in results if r["instance"] == name]
        found = [item for item in found if item[0] is not None]
        if len(drawn) == limit or not found:
            continue
        cost, number, line, result = min(found, key=lambda item: item[:2])
        try:
            if number not in opened:
                opened[number] = read_bytes(store.submission(number))
            pixels = _draw((problem, freedom), opened[number], name, cost, board.seeds)
        except (SysgymError, StopIteration):  # such as public data that is not on this machine
            continue
        size = (int(pixels.shape[1]), int(pixels.shape[0]))
        file = f"{board.id}-{index}.png"
        drawn.append(Picture(file, _png(pixels), size, name, line["agent"], cost, result["reference"]))
    return drawn


def _draw(rules: tuple[AnyProblem, str], submission: Submission, name: str, cost: float, seeds: int) -> Any:
    """Pixels of the answer that reached `cost`, as the board's freedom leaves it."""
    problem, freedom = rules
    instance = problem.load(name)
    arrays = [submission.answers[name, seed].arrays for seed in range(seeds)]
    answers = [restricted(problem, instance, each, freedom) for each in arrays]
    verdicts = [problem.judge(instance, arrays) for arrays in answers]
    best = next(seed for seed, verdict in enumerate(verdicts) if verdict.feasible and verdict.cost == cost)
    return problem.render(instance, answers[best])


def _png(pixels: Any) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
