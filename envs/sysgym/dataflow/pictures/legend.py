"""A solution in names: which operator of which module does what."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym.core.problem import Solution
from sysgym.dataflow.graphs.graph import PHASES, DataflowGraph


def legend(graph: DataflowGraph, solution: Solution) -> list[dict[str, Any]]:
    """A row for each operator: its name, layer, module where the graph knows it, phase, then what is decided for it."""
    columns: dict[str, list[Any]] = {
        "op": [graph.op_types[op] for op in graph.op.tolist()],
        "layer": graph.layer.tolist(),
        **({"module": [graph.modules[row] for row in graph.module.tolist()]} if len(graph.module) else {}),
        "phase": [PHASES[phase] for phase in graph.phase.tolist()],
        **{"device" if key == "placement" else key: np.asarray(values).tolist() for key, values in solution.items()},
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
