"""Pictures of clusterings: the points in two dimensions, and the size and cut of each cluster beside them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.clustering.instance import Affinity
from sysgym.clustering.judge import cluster_values, ncut_terms
from sysgym.core.drawing.tools import TABLEAU, Colour, cut_front
from sysgym.core.problem import Array, Solution, Verdict
from sysgym.graphs.spectral import laplacian_eigenvectors

WIDTH, HEIGHT, SIDE, MARGIN, TOP = 960, 700, 600, 24, 64
EDGES, SHOWN = 40_000, 24  # edges that are drawn, and clusters in the list


def palette(k: int) -> list[Colour]:
    """Distinct colours, one a cluster."""
    import colorsys

    if k <= len(TABLEAU):
        return list(TABLEAU[:k])
    hues = (colorsys.hsv_to_rgb((i * 0.618) % 1.0, 0.75, 0.55 + 0.4 * (i % 2)) for i in range(k))
    return [(int(r * 255), int(g * 255), int(b * 255)) for r, g, b in hues]


@lru_cache(maxsize=8)
def layout(graph: Affinity) -> Array:
    """Positions in the unit square, (n, 2) float64: the points themselves where they are two-dimensional, else two
    eigenvectors of the graph's Laplacian, evened out by ranks.
    """
    flat = graph.x is not None and graph.x.shape[1] == 2
    xy = graph.x.astype(np.float64) if flat and graph.x is not None else laplacian_eigenvectors(graph, 2)
    span = np.ptp(xy, axis=0)
    if flat:
        return np.asarray((xy - xy.min(axis=0)) / max(float(span.max()), 1e-12))
    ranks = xy.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / max(graph.nodes - 1, 1)
    return np.asarray(0.7 * ranks + 0.3 * (xy - xy.min(axis=0)) / np.where(span > 0, span, 1.0))


def draw(graph: Affinity, solution: Solution, k: int, verdict: Verdict) -> Array:
    """The clustering as a (700, 960, 3) uint8 picture."""
    labels, colours = np.asarray(solution["labels"]), palette(k)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    xy = layout(graph) * (SIDE - 2 * MARGIN) + np.array([MARGIN, TOP + MARGIN])
    _edges(pen, graph, labels, xy, colours)
    radius = float(np.clip(60 / np.sqrt(max(graph.nodes, 1)), 0.8, 6.0))
    for (x, y), c in zip(xy.tolist(), labels.tolist(), strict=True):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colours[c])
    title = cut_front(pen, graph.name, 420, 16)
    pen.text((MARGIN, 12), f"{title}   {graph.nodes} points, k = {k}", "black", ImageFont.load_default(16))
    line = f"ncut {verdict.cost:.4f} of {k}, {verdict.metrics['clusters']:g} clusters have points"
    pen.text((MARGIN, 36), line, "black", ImageFont.load_default(13))
    _bars(pen, graph, labels, k, colours)
    return np.asarray(image, np.uint8).copy()


def _edges(pen: ImageDraw.ImageDraw, graph: Affinity, labels: Array, xy: Array, colours: list[Colour]) -> None:
    """Edges inside clusters in a light shade of their colour, those between clusters in grey over them."""
    once = np.flatnonzero(graph.sources < graph.adjncy)
    if len(once) > EDGES:  # evenly spread ones stand for all
        once = once[:: -(-len(once) // EDGES)]
    crossing = labels[graph.sources[once]] != labels[graph.adjncy[once]]
    for chosen, colour in ((once[~crossing], None), (once[crossing], (90, 90, 90))):
        for u, v in zip(graph.sources[chosen].tolist(), graph.adjncy[chosen].tolist(), strict=True):
            light = tuple((c + 2 * 235) // 3 for c in colours[labels[u]])
            pen.line([tuple(xy[u]), tuple(xy[v])], fill=colour or light, width=1)


def _bars(pen: ImageDraw.ImageDraw, graph: Affinity, labels: Array, k: int, colours: list[Colour]) -> None:
    """A row for each cluster: its points, and its cut over its volume (its conductance, where it is small)."""
    cut, volume, sizes = cluster_values(graph, labels, k)
    terms, small = ncut_terms(cut, volume), ImageFont.load_default(12)
    left, middle, step = SIDE + 20, SIDE + 190, min(24, (HEIGHT - TOP - 60) // min(k, SHOWN))
    grey = (90, 90, 90)
    pen.text((left + 22, TOP), "points", grey, small)
    pen.text((middle, TOP), "cut / volume", grey, small)
    order = np.argsort([-term for term in terms], kind="stable")[:SHOWN].tolist()
    for row, c in enumerate(sorted(order)):
        y = TOP + 22 + row * step
        pen.rectangle([left, y + 2, left + 12, y + 14], fill=colours[c])
        pen.rectangle([left + 22, y + 2, left + 22 + 80 * sizes[c] / max(sizes), y + 14], fill=(200, 200, 200))
        pen.text((left + 26, y), f"{sizes[c]}", "black", small)
        pen.rectangle([middle, y + 2, middle + 80 * min(terms[c], 1.0), y + 14], fill=(220, 150, 140))
        pen.text((middle + 86, y), f"{terms[c]:.4f}", "black", small)
    if k > SHOWN:
        pen.text((left, HEIGHT - 30), f"the {SHOWN} of largest share among {k} clusters", grey, small)


def describe(graph: Affinity, solution: Solution, k: int, verdict: Verdict) -> str:
    """A few lines of text: the normalised cut, then size, volume and cut over volume of each cluster."""
    labels = np.asarray(solution["labels"])
    cut, volume, sizes = cluster_values(graph, labels, k)
    lines = [f"{graph.name}: {graph.nodes} points, {graph.edges} edges, k={k}", f"ncut {verdict.cost:.6f} of {k}"]
    rows = zip(sizes.tolist(), (volume * graph.unit).tolist(), ncut_terms(cut, volume), strict=True)
    shown = [f"  cluster {c}: {n} points, volume {v:.6g}, ncut {term:.6f}" for c, (n, v, term) in enumerate(rows)]
    return "\n".join([*lines, *shown[:32], *([f"  ... and {k - 32} more clusters"] if k > 32 else [])])
