"""Pictures of partitions: a spectral layout, coloured parts, cut edges in black, weights in a legend."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.core.drawing.tools import TABLEAU
from sysgym.core.problem import Array, Solution, Verdict
from sysgym.graphs.csr import Graph
from sysgym.graphs.hypergraph import Hypergraph
from sysgym.graphs.spectral import laplacian_eigenvectors

WIDTH, HEIGHT, CAPTION, MARGIN = 640, 700, 60, 24
LEGEND, SHOWN = 58, 10  # height of the legend, and parts in it


def colours(parts: int) -> list[tuple[int, int, int]]:
    """Distinct colours, one a part."""
    if parts <= len(TABLEAU):
        return list(TABLEAU[:parts])
    hues = (colorsys.hsv_to_rgb((i * 0.618) % 1.0, 0.75, 0.55 + 0.4 * (i % 2)) for i in range(parts))
    return [(int(r * 255), int(g * 255), int(b * 255)) for r, g, b in hues]


@lru_cache(maxsize=8)
def layout(graph: Graph) -> Array:
    """Positions in the unit square, (n, 2) float64: two Laplacian eigenvectors, smoothed ranks against clumping."""
    xy = laplacian_eigenvectors(graph, 2)
    if graph.nodes > 1:
        # ranks alone would draw a square, eigenvectors alone crowd the ends: take the mean of both
        ranks = xy.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / (graph.nodes - 1)
        span = np.ptp(xy, axis=0)
        xy = 0.5 * ranks + 0.5 * (xy - xy.min(axis=0)) / np.where(span > 0, span, 1.0)
    return xy


def draw(instance: Graph | Hypergraph, solution: Solution, k: int, verdict: Verdict) -> Array:
    """The partition as an (700, 640, 3) uint8 picture."""
    part, graph = np.asarray(solution["part"]), instance if isinstance(instance, Graph) else instance.bipartite
    if isinstance(instance, Hypergraph):  # nets, which are the ends of lines, have the part of their pins
        part = np.concatenate([part, _kept_in(instance, part, k)])
    scale = np.array([WIDTH - 2 * MARGIN, HEIGHT - CAPTION - LEGEND - 2 * MARGIN])
    xy = layout(graph) * scale + np.array([MARGIN, CAPTION + MARGIN])
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    palette = [*colours(k), (0, 0, 0)]
    once = np.flatnonzero(graph.sources < graph.adjncy)
    crossing = part[graph.sources[once]] != part[graph.adjncy[once]]
    for chosen, colour in ((once[~crossing], None), (once[crossing], (0, 0, 0))):
        for u, v in zip(graph.sources[chosen].tolist(), graph.adjncy[chosen].tolist(), strict=True):
            light = tuple((c + 2 * 225) // 3 for c in palette[part[u]])
            pen.line([tuple(xy[u]), tuple(xy[v])], fill=colour or light, width=1)
    radius = float(np.clip(60 / np.sqrt(max(graph.nodes, 1)), 1.0, 6.0))
    for (x, y), p in zip(xy.tolist()[: instance.nodes], part.tolist(), strict=False):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=palette[p])
    m = verdict.metrics
    title = ImageFont.load_default(16)
    small = ImageFont.load_default(13)
    pen.text((MARGIN, 10), f"{instance.name}   {_counts(instance)}, k = {k}", "black", title)
    state = "feasible" if verdict.feasible else "INFEASIBLE"
    share, imbalance = 100 * m["cut_ratio"], 100 * m["imbalance"]
    what = "edge weight" if instance is graph else f"net weight), km1 {m['km1']:g} (sum over nets of parts - 1"
    line = f"cut {m['cut']:g} ({share:.2f} % of the {what}), imbalance {imbalance:.1f} %, {state}"
    pen.text((MARGIN, 34), line, "black" if verdict.feasible else (200, 0, 0), small)
    _legend(pen, palette, np.bincount(part[: instance.nodes], instance.vwgt, k).tolist(), m["l_max"])
    return np.asarray(image, np.uint8).copy()


def _counts(graph: Graph | Hypergraph) -> str:
    """How large it is, in words."""
    if isinstance(graph, Graph):
        return f"{graph.nodes} nodes, {graph.edges} edges"
    return f"{graph.nodes} nodes, {graph.edges} nets, {len(graph.pins)} pins"


def _kept_in(graph: Hypergraph, part: Array, k: int) -> Array:
    """The part that holds all pins of each net, (E,), k for a net that is cut."""
    least, most = (f.reduceat(part[graph.pins], graph.net_ptr[:-1]) for f in (np.minimum, np.maximum))
    return np.where(least == most, least, k)


def _legend(pen: ImageDraw.ImageDraw, palette: list[tuple[int, int, int]], load: list[float], limit: float) -> None:
    """What each part weighs beside its colour, and the limit; the heaviest parts where not all have room."""
    small = ImageFont.load_default(12)
    heaviest = sorted(range(len(load)), key=lambda p: (-load[p], p))
    shown = sorted(heaviest[:SHOWN]) if len(load) > SHOWN else range(len(load))
    top, step = HEIGHT - LEGEND, (WIDTH - 2 * MARGIN) // 5
    for place, p in enumerate(shown):
        x, y = MARGIN + place % 5 * step, top + place // 5 * 15
        pen.rectangle([x, y + 2, x + 10, y + 12], fill=palette[p])
        pen.text((x + 15, y), f"part {p}: {load[p]:g}", (200, 0, 0) if load[p] > limit else "black", small)
    red = " (red: more)" if max(load) > limit else ""
    more = f", the {SHOWN} heaviest of {len(load)} parts" if len(load) > SHOWN else ""
    pen.text((MARGIN, HEIGHT - 22), f"weights; a part may weigh {limit:g}{red}{more}", (90, 90, 90), small)


def describe(graph: Graph | Hypergraph, solution: Solution, k: int, eps: float, verdict: Verdict) -> str:
    """A few lines of text: cut, balance, weight of each part."""
    m = verdict.metrics
    load = np.bincount(np.asarray(solution["part"]), weights=graph.vwgt, minlength=k)
    shown = [f"  part {p}: {w:g}" + (" (over the limit)" if w > m["l_max"] else "") for p, w in enumerate(load[:16])]
    if k > 16:
        shown.append(f"  ... and {k - 16} more parts")
    rule = f"ubfactor given, {m['l_min']:g} to {m['l_max']:g}" if "l_min" in m else f"eps={eps:g}"
    head = f"{graph.name}: {_counts(graph)}, k={k}, {rule}"
    state = "feasible" if verdict.feasible else "infeasible"
    limit = f"limit {m['l_max']:g}" + (" (relaxed to what longest-first packing reaches)" if m["limit_relaxed"] else "")
    cut = f"cut {m['cut']:g}" if isinstance(graph, Graph) else f"cut {m['cut']:g}, km1 {m['km1']:g}"
    body = f"{cut}, ncut {m['ncut']:.4f}, imbalance {m['imbalance']:.4f}, {limit}: {state}"
    return "\n".join([head, body, *shown])
