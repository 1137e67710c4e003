"""A design as a picture: roofline, area and power, time and utilisation of regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.pictures.facts import facts_of
from sysgym.accelerator_design.pictures.floorplan import floorplan
from sysgym.accelerator_design.pictures.panels import GREY, Box, bars, font, heat_map, kinds_legend, roofline
from sysgym.accelerator_design.space import WORDS, machines, named
from sysgym.core.drawing.tools import cut
from sysgym.core.problem import Array, Solution, Verdict

WIDE, MARGIN, GAP, CAPTION = 1160, 16, 28, 112  # pixels: of a page, around it, between panels, above them
UPPER, LOWER = 330, 420  # heights of the rows of panels
RED = (200, 0, 0)


def draw(problem: Any, work: Workloads, solution: Solution) -> Array:
    """Panels below a title, (H, 1160, 3) uint8; InvalidSolution if the solution is none.

    Times are those with what stays in global memory; without, where it is not chosen exactly.
    """
    verdict, facts = problem.judge(work, solution), facts_of(problem, work, solution)
    machine = machines(np.asarray(solution["design"])[None])[0]
    limits = problem.rules.area_budget, problem.rules.tdp_budget
    tpu = problem.measured(work)
    half, top = (WIDE - 2 * MARGIN - GAP) // 2, CAPTION
    high = top + UPPER + MARGIN if facts is None else top + UPPER + GAP + LOWER + MARGIN
    image = Image.new("RGB", (WIDE, high), "white")
    pen = ImageDraw.Draw(image, "RGBA")
    _heading(pen, problem, work, solution, verdict)
    right = MARGIN + half + GAP
    floorplan(pen, Box(right, top, half, UPPER), machine, (limits[0] * tpu.tpu_area, limits[1] * tpu.tpu_power))
    if facts is None:
        pen.text((MARGIN, top), "no region has a time on a machine that cannot work", GREY, font(13))
        return np.asarray(image, np.uint8).copy()
    kinds_legend(pen, MARGIN, top - 24, work)
    roofline(pen, Box(MARGIN, top, half, UPPER), work, facts)
    bars(pen, Box(MARGIN, top + UPPER + GAP, half, LOWER), work, facts)
    heat_map(image, pen, Box(right, top + UPPER + GAP, half, LOWER), work, facts)
    return np.asarray(image, np.uint8).copy()


def _heading(pen: ImageDraw.ImageDraw, problem: Any, work: Workloads, solution: Solution, verdict: Verdict) -> None:
    """The workload, the figures, the parameters; red and with its reasons if infeasible."""
    name = "/".join(Path(work.name).parts[-2:]) if len(work.name) > 60 else work.name
    several = f"{len(work.networks)} networks, " if len(work.networks) > 1 else ""
    metrics, ink = verdict.metrics, "black" if verdict.feasible else RED
    pen.text((MARGIN, 10), f"{name}   {several}{len(work.kind)} regions", "black", font(16))
    state = "feasible" if verdict.feasible else "INFEASIBLE: " + "; ".join(verdict.violations)
    figures = (
        f"cost {verdict.cost:.4g}, {metrics['perf_per_tdp']:.4g} x TPU-v3 in items a second and watt, "
        f"{metrics['seconds_per_batch'] * 1e3:.4g} ms a batch, utilisation {metrics['utilisation']:.1%}, {state}"
    )
    values = named(solution["design"])
    told = " ".join(f"{key}={WORDS[key][value] if key in WORDS else value}" for key, value in values.items())
    note = "" if problem.mode == "joint" or problem.fusion == "ilp" else "; times of regions are without fusion"
    room = WIDE - 2 * MARGIN
    pen.text((MARGIN, 35), cut(pen, figures, room), ink, font(13))
    pen.text((MARGIN, 55), cut(pen, told + note, room, 12), GREY, font(12))
