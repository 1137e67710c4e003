"""Pictures of partitions: nothing that is written lies over something else or beyond the page."""

from __future__ import annotations

import numpy as np
import pytest
from written import Written

from sysgym import make_problem
from sysgym.graphs.generate import generate_graph


@pytest.mark.parametrize("k", [2, 8, 10, 40])
def test_texts_do_not_meet(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written(monkeypatch)
    graph = generate_graph("delaunay:n=200,seed=9")
    for part in (np.arange(200) % k, np.arange(200) // 101):  # even, and far too heavy
        problem = make_problem("Partitioning", k=k)
        words = written.check(problem.render(graph, {"part": part}))
        assert ("red: more" in words[-1]) != problem.judge(graph, {"part": part}).feasible
