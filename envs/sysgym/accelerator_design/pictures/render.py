"""A design as a picture: roofline, area and power, time and utilisation of regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sysgym.accelerator_design.instance import Workloads
from sysgym.accelerator_design.pictures.facts import facts_of
from sysgym.accelerator_design.pictures.floorplan import floorplan
from sysgym.accelerator_design.pictures.panels import (
    GREY,
    Box,
    bars,
    font,
    heat_map,
    kinds_legend,
    lower_height,
    roofline,
)
from sysgym.accelerator_design.space import WORDS, machines, named
from sysgym.core.drawing.tools import Colour, cut
from sysgym.core.problem import Array, Solution, Verdict

WIDE, MARGIN, GAP, LEGEND = 1160, 16, 28, 24  # pixels: of a page, around it, between panels, of the legend
UPPER, LOWER = 330, 420  # heights of the rows of panels, the lower one at most
BLACK, RED = (0, 0, 0), (200, 0, 0)
Line = tuple[str, int, Colour]  # text, size and colour


def draw(problem: Any, work: Workloads, solution: Solution) -> Array:
    """Panels below a title, (H, 1160, 3) uint8; InvalidSolution if the solution is none."""
    verdict, facts = problem.judge(work, solution), facts_of(problem, work, solution)
    lines = [*_heading(work, verdict, facts is not None), *_parameters(problem, solution, facts is not None)]
    top = 10 + sum(_high(line) for line in lines) + 12
    half = (WIDE - 2 * MARGIN - GAP) // 2
    lower = 0 if facts is None else lower_height(work, half, LOWER)
    top += LEGEND if facts is not None else 0
    image = Image.new("RGB", (WIDE, top + UPPER + (GAP + lower if facts is not None else 0) + MARGIN), "white")
    pen = ImageDraw.Draw(image, "RGBA")
    _write(pen, lines)
    machine, tpu = machines(np.asarray(solution["design"])[None])[0], problem.measured(work)
    limits = problem.rules.area_budget * tpu.tpu_area, problem.rules.tdp_budget * tpu.tpu_power
    right = MARGIN + half + GAP
    floorplan(pen, Box(right if facts is not None else MARGIN, top, half, UPPER), machine, limits)
    if facts is not None:
        kinds_legend(pen, MARGIN, top - LEGEND, work)
        roofline(pen, Box(MARGIN, top, half, UPPER), work, facts)
        bars(pen, Box(MARGIN, top + UPPER + GAP, half, lower), work, facts)
        heat_map(image, pen, Box(right, top + UPPER + GAP, half, lower), work, facts)
    return np.asarray(image, np.uint8).copy()


def _heading(work: Workloads, verdict: Verdict, working: bool) -> list[Line]:
    """The workload and the figures; red and with a line for each reason if infeasible."""
    name = "/".join(Path(work.name).parts[-2:]) if len(work.name) > 60 else work.name
    several = f"{len(work.networks)} networks, " if len(work.networks) > 1 else ""
    metrics, ink = verdict.metrics, BLACK if verdict.feasible else RED
    figures = f"cost {verdict.cost:.4g}"
    if working:
        figures += (
            f", {metrics['perf_per_tdp']:.4g} x TPU-v3 in items a second and watt, "
            f"{metrics['seconds_per_batch'] * 1e3:.4g} ms a batch, utilisation {metrics['utilisation']:.1%}"
        )
    figures += ", feasible" if verdict.feasible else ", INFEASIBLE:"
    title = f"{name}   {several}{len(work.kind)} regions"
    return [(title, 16, BLACK), (figures, 13, ink), *((f"   {reason}", 13, RED) for reason in verdict.violations)]


def _parameters(problem: Any, solution: Solution, working: bool) -> list[Line]:
    """The parameters, and what must be known of the panels."""
    values = named(solution["design"])
    told = " ".join(f"{key}={WORDS[key][value] if key in WORDS else value}" for key, value in values.items())
    lines = [(told, 12, GREY)]
    if not working:
        lines.append(("No region has a time on a machine that cannot work.", 12, GREY))
    elif problem.mode != "joint" and problem.fusion == "greedy":
        lines.append(("Panels of regions: with what exact fusion keeps in memory, not greedy fusion.", 12, GREY))
    return lines


def _high(line: Line) -> int:
    """Pixels from a line to the next."""
    return line[1] + 7


def _write(pen: ImageDraw.ImageDraw, lines: list[Line]) -> None:
    """Lines from the top of the page."""
    y = 10
    for line in lines:
        text, size, ink = line
        pen.text((MARGIN, y), cut(pen, text, WIDE - 2 * MARGIN, size), ink, font(size))
        y += _high(line)
