"""Pictures of placements: macros, soft macros, ports and nets, beside maps of density and congestion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.chip_placement.cost import congestion_maps, density_map
from sysgym.chip_placement.formats.netlist import HARD, PORT, SOFT
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.macros import macro_sizes
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import Rules, all_nodes
from sysgym.core.drawing.tools import cut, heat
from sysgym.core.problem import Array, Solution, Verdict

SIDE, MARGIN, CAPTION = 560, 20, 82  # pixels: longer side of the canvas, around it, above it
HARD_FILL, HARD_EDGE = (66, 105, 168), (24, 46, 84)
SOFT_FILL, SOFT_EDGE = (247, 205, 150, 110), (214, 140, 60, 150)
PORT_FILL, WIRE = (190, 30, 45), (90, 90, 90, 46)
FLY_LINES = 400  # the heaviest links between macros that are drawn
PARTS = ("wirelength", "density", "congestion")  # of the proxy
NARROW, STAGES = 600, 56  # least pixels across a page, for its text; frames while hard macros appear


class _View:
    """From microns to pixels, the vertical axis up."""

    def __init__(self, canvas: Canvas) -> None:
        self.scale = SIDE / max(canvas.width, canvas.height)
        self.size = max(1, round(canvas.width * self.scale)), max(1, round(canvas.height * self.scale))
        self.height = canvas.height

    def box(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of a rectangle given by its centre."""
        return ((x - width / 2) * self.scale, (self.height - y - height / 2) * self.scale,
                (x + width / 2) * self.scale, (self.height - y + height / 2) * self.scale)  # fmt: skip

    def point(self, x: float, y: float) -> tuple[float, float]:
        """A position."""
        return x * self.scale, (self.height - y) * self.scale


def _mark(orientation: int) -> tuple[int, int]:
    """The corner of a macro that is its lower left one in orientation N, as signs."""
    return {0: (-1, -1), 1: (1, -1), 2: (1, 1), 3: (-1, 1)}.get(orientation & 3, (-1, -1))


def floorplan(chip: Chip, placement: Placement, shown: Array | None = None, links: bool = True) -> Image.Image:
    """Macros, soft macros, ports, blockages and `links`; `shown` (n,) bool hides the macros that it leaves out."""
    netlist, view = chip.netlist, _View(chip.canvas)
    width, height = macro_sizes(netlist, orientation=placement.orientation)
    image = Image.new("RGB", view.size, "white")
    pen = ImageDraw.Draw(image, "RGBA")
    for x0, y0, x1, y1, _ in chip.canvas.obstacles:
        pen.rectangle(view.box((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), fill=(170, 170, 170))
    there = placement.placed if shown is None else placement.placed & shown
    for kind, fill, edge in ((SOFT, SOFT_FILL, SOFT_EDGE), (HARD, HARD_FILL, HARD_EDGE)):
        for i in np.flatnonzero((netlist.kind == kind) & there).tolist():
            box = view.box(placement.x[i], placement.y[i], width[i], height[i])
            pen.rectangle(box, fill=fill, outline=edge)
            if kind == HARD:
                sx, sy = _mark(int(placement.orientation[i]))
                corner = (placement.x[i] + sx * width[i] / 2, placement.y[i] + sy * height[i] / 2)
                inner = 0.25 * min(width[i], height[i])
                pen.polygon([view.point(*corner), view.point(corner[0] - sx * inner, corner[1]),
                             view.point(corner[0], corner[1] - sy * inner)], fill=(255, 205, 90))  # fmt: skip
    if links:
        _fly_lines(chip, placement, view, pen)
    for i in np.flatnonzero(netlist.kind == PORT).tolist():
        at = np.clip([placement.x[i], placement.y[i]], 0, [chip.canvas.width, chip.canvas.height])
        px, py = view.point(*at.tolist())
        pen.rectangle((px - 2, py - 2, px + 2, py + 2), fill=PORT_FILL)
    pen.rectangle((0, 0, view.size[0] - 1, view.size[1] - 1), outline=(0, 0, 0))
    return image


def _fly_lines(chip: Chip, placement: Placement, view: _View, pen: ImageDraw.ImageDraw) -> None:
    """The heaviest links that touch a hard macro."""
    graph, macros = chip.graph, chip.macros
    hard = chip.netlist.kind[macros] == HARD
    a, b = graph.edge_index[:, : len(graph.edges) // 2]
    many = len(macros)
    kept = np.flatnonzero((a < many) & ((b >= many) | hard[np.minimum(b, many - 1)] | hard[np.minimum(a, many - 1)]))
    kept = kept[np.argsort(-graph.edges[kept, 0], kind="stable")[:FLY_LINES]]
    for e in kept.tolist():
        rows = int(a[e]), int(b[e])
        if all(r >= many or placement.placed[macros[r]] for r in rows):
            ends = [
                (placement.x[macros[r]], placement.y[macros[r]]) if r < many else graph.ports[r - many] for r in rows
            ]
            pen.line([view.point(*map(float, end)) for end in ends], fill=WIRE, width=1)


def maps(chip: Chip, canvas: Canvas, placement: Placement, square_soft: bool) -> tuple[Array, Array]:
    """Density and congestion (the larger of both directions) of each cell, row 0 at the bottom."""
    width, height = macro_sizes(chip.netlist, square_soft, placement.orientation)
    hor, ver = congestion_maps(chip.netlist, canvas, placement, width, height)
    return density_map(chip.netlist, canvas, placement, width, height), np.maximum(hor, ver)


def _panel(values: Array, top: float, size: tuple[int, int], title: str) -> Image.Image:
    """A heat map with a title and a scale."""
    image = Image.new("RGB", (size[0], size[1] + 24), "white")
    map_ = Image.fromarray(heat(values[::-1], top)).resize(size, Image.Resampling.NEAREST)
    image.paste(map_, (0, 24))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 24, size[0] - 1, size[1] + 23), outline=(0, 0, 0))
    font = ImageFont.load_default(13)
    pen.text((0, 4), title, "black", font)
    wide = 70
    bar = heat(np.linspace(0, top, wide)[None].repeat(10, axis=0), top)
    image.paste(Image.fromarray(bar), (size[0] - wide - 34, 7))
    pen.text((size[0] - wide - 46, 4), "0", "black", font)
    pen.text((size[0] - 30, 4), f"{top:g}", "black", font)
    return image


def draw(chip: Chip, solution: Solution, rules: Rules, verdict: Verdict) -> Array:
    """The placement beside its density and congestion maps, (H, W, 3) uint8."""
    placement = all_nodes(chip, *(np.asarray(solution[key]) for key in ("x", "y", "orientation")))
    plan = floorplan(chip, placement)
    density, congestion = maps(chip, rules.canvas(chip.canvas), placement, rules.square_soft)
    half = max(plan.size[0] // 2, 200), max(plan.size[1] // 2 - 24, 60)
    panels = [_panel(density, 2.0, half, "density"), _panel(congestion, 1.5, half, "congestion")]
    side = Image.new("RGB", (half[0], sum(panel.size[1] for panel in panels)), "white")
    at = 0
    for panel in panels:
        side.paste(panel, (0, at))
        at += panel.size[1]
    return _page(chip, [plan, side], [_figures(rules, verdict), _state(verdict)], _ink(verdict))


def _page(chip: Chip, pictures: list[Image.Image], lines: list[str], ink: str) -> Array:
    """Pictures side by side below a title and one or two lines of text, cut where the page ends, (H, W, 3) uint8."""
    wide = sum(picture.size[0] + MARGIN for picture in pictures) + MARGIN
    image = Image.new("RGB", (max(wide, NARROW), max(p.size[1] for p in pictures) + CAPTION + MARGIN), "white")
    at = MARGIN
    for picture in pictures:
        image.paste(picture, (at, CAPTION))
        at += picture.size[0] + MARGIN
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, 10), _title(chip), "black", ImageFont.load_default(16))
    for row, line in enumerate(lines):
        pen.text((MARGIN, 36 + 18 * row), cut(pen, line, image.size[0] - 2 * MARGIN), ink, ImageFont.load_default(13))
    return np.asarray(image, np.uint8).copy()


def _ink(verdict: Any) -> str:
    return "black" if verdict.feasible else "#c80000"


def frames(chip: Chip, solution: Solution, rules: Rules, verdict: Verdict) -> list[Array]:
    """The placement as it grows, (H, W, 3) uint8 each: hard macros by descending area, then soft macros, then links.

    Fixed macros are there from the start. Large chips get several macros a frame.
    """
    placement = all_nodes(chip, *(np.asarray(solution[key]) for key in ("x", "y", "orientation")))
    kind, area = chip.netlist.kind, chip.netlist.width * chip.netlist.height
    order = chip.movable[np.argsort(-area[chip.movable], kind="stable")]
    shown = (kind == HARD) & chip.placement.fixed
    pages = []
    for count in np.unique(np.linspace(0, len(order), min(len(order), STAGES) + 1).round().astype(int)).tolist():
        shown[order[:count]] = True
        line = f"{count} of {len(order)} macros, the largest first"
        pages.append(_page(chip, [floorplan(chip, placement, shown, links=False)], [line], "black"))
    if chip.has_soft:
        plan = floorplan(chip, placement, links=False)
        pages.append(_page(chip, [plan], [f"{int((kind == SOFT).sum())} soft macros"], "black"))
    last = [_figures(rules, verdict), _state(verdict)]
    pages.append(_page(chip, [floorplan(chip, placement)], last, _ink(verdict)))
    return pages


def _title(chip: Chip) -> str:
    hard, soft, ports = (int((chip.netlist.kind == kind).sum()) for kind in (HARD, SOFT, PORT))
    name = "/".join(Path(chip.name).parts[-2:]) if len(chip.name) > 40 else chip.name
    return f"{name}   {hard} macros, {soft} soft, {ports} ports"


def _figures(rules: Rules, verdict: Verdict) -> str:
    """What a placement costs; the terms of a proxy have as many digits as it takes to add up to what is shown."""
    m = verdict.metrics
    if rules.objective == "hpwl":
        return f"wirelength between macros {m['hpwl']:.6g} microns"
    terms = [m[f"{name}_cost"] for name in PARTS]
    shown = next(
        numbers for digits in range(4, 18) if (numbers := [f"{term:.{digits}f}" for term in terms]) and
        (digits == 17 or f"{np.dot(rules.weights, np.array(numbers, float)):.4f}" == f"{m['proxy']:.4f}")
    )  # fmt: skip
    factors = ["" if weight == 1 else f"{weight:.17g} x " for weight in rules.weights]
    parts = [f"{factor}{name} {number}" for factor, name, number in zip(factors, PARTS, shown, strict=True)]
    return f"proxy {m['proxy']:.4f} = {' + '.join(parts)}"


def _state(verdict: Verdict) -> str:
    return "legal" if verdict.feasible else "ILLEGAL: " + "; ".join(verdict.violations)


def describe(chip: Chip, solution: Solution, rules: Rules, verdict: Verdict) -> str:
    """Costs and a coarse map: # a hard macro, + soft macros over half a cell, . free."""
    placement = all_nodes(chip, *(np.asarray(solution[key]) for key in ("x", "y", "orientation")))
    columns = min(60, max(10, chip.canvas.columns))
    rows = max(4, round(columns * chip.canvas.height / chip.canvas.width / 2))
    width, height = macro_sizes(chip.netlist, orientation=placement.orientation)
    shown = np.full((rows, columns), ".")
    for kind, letter in ((SOFT, "+"), (HARD, "#")):
        for i in np.flatnonzero(chip.netlist.kind == kind).tolist():
            c = [int((placement.x[i] + s * width[i] / 2) / chip.canvas.width * columns + 0.5) for s in (-1, 1)]
            r = [int((placement.y[i] + s * height[i] / 2) / chip.canvas.height * rows + 0.5) for s in (-1, 1)]
            shown[max(r[0], 0) : max(r[1], 0), max(c[0], 0) : max(c[1], 0)] = letter
    lines = ["".join(line) for line in shown[::-1]]
    return "\n".join([_title(chip), f"{_figures(rules, verdict)}; {_state(verdict)}", *lines])
