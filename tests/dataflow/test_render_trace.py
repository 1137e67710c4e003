"""`sysgym render` with a .json: traces of the problems that have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Inline = Callable[..., Any]


def test_render_writes_traces_and_animations(inline: Inline, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", placement=np.arange(16) % 2)
    base = ("render", "layered/train-0", "x.npz", "-p", "DevicePlacement")
    inline(*base, "-o", "x.json")
    trace = json.loads((tmp_path / "x.json").read_text())
    assert sum(event["ph"] == "X" and event["tid"] == 0 for event in trace["traceEvents"]) == 16
    inline(*base, "-o", "x.gif")
    with Image.open(tmp_path / "x.gif") as moving:
        assert moving.n_frames > 10
    failed = inline(*base, "-O", "objective=throughput", "-o", "y.json", code=2)
    assert "a trace needs objective='latency'" in failed.stderr
    assert "cannot write no/y.json: No such file" in inline(*base, "-o", "no/y.json", code=2).stderr


def test_problems_without_a_trace_say_so(inline: Inline, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_text("0\n")
    failed = inline("render", "tiny/grid-test", "x.part", "-o", "x.json", code=2)
    assert "Partitioning has no trace; use a name that ends in .png instead of x.json." in failed.stderr
