"""Pictures of clusterings: the points in two dimensions, and beside them size, cut and some images of each cluster."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.clustering.catalogue import images_of
from sysgym.clustering.instance import Affinity
from sysgym.clustering.judge import cluster_values, ncut_terms
from sysgym.core.drawing.tools import TABLEAU, Colour, cut_front
from sysgym.core.problem import Array, Solution, Verdict
from sysgym.graphs.spectral import laplacian_eigenvectors

WIDTH, HEIGHT, SIDE, MARGIN, TOP = 960, 700, 600, 24, 64
FINE = 2  # the map is drawn so many times as large, and then made smaller
EDGES, SHOWN = 40_000, 24  # edges that are drawn, and clusters in the list
FEW = 200  # crossing edges that may be dark
SAMPLES, THUMB = 8, 20  # images of a cluster, and their pixels
GREY = (90, 90, 90)


def palette(k: int) -> list[Colour]:
    """Distinct colours, one a cluster."""
    import colorsys

    if k <= len(TABLEAU):
        return list(TABLEAU[:k])
    hues = (colorsys.hsv_to_rgb((i * 0.618) % 1.0, 0.75, 0.55 + 0.4 * (i % 2)) for i in range(k))
    return [(int(r * 255), int(g * 255), int(b * 255)) for r, g, b in hues]


@lru_cache(maxsize=8)
def layout(graph: Affinity) -> Array:
    """Positions in the unit square, (n, 2) float64, y downwards: the points themselves where they are two-dimensional,
    else such that neighbours lie together.
    """
    flat = graph.x is not None and graph.x.shape[1] == 2
    xy = graph.x.astype(np.float64) if flat and graph.x is not None else gathered(graph)
    low, high = xy.min(axis=0), xy.max(axis=0)
    if not flat:  # a few that lie far out must not make the others small
        low, high = np.quantile(xy, [0.005, 0.995], axis=0)
        low, high = low - 0.03 * (high - low), high + 0.03 * (high - low)
        xy = np.clip(xy, low, high)
    span = high - low
    share = (
        (xy - (low + high) / 2) / max(float(span.max()), 1e-12) if flat else (xy - low) / np.maximum(span, 1e-12) - 0.5
    )
    return np.asarray(0.5 + share * np.array([1.0, -1.0]))


def gathered(graph: Affinity) -> Array:
    """Positions (n, 2) float64 from two eigenvectors of the graph's Laplacian, where each point is then drawn to one
    neighbour after the other and pushed off by others at random, as UMAP does (McInnes et al. 2018).
    """
    n, rng = graph.nodes, np.random.default_rng(0)
    start = laplacian_eigenvectors(graph, 2)
    y = start.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") * (10.0 / max(n, 1))
    y += 0.1 * rng.standard_normal(y.shape)
    count = np.diff(graph.xadj)
    linked, rounds = np.flatnonzero(count), int(np.clip(2_000_000 / max(n, 1), 30, 300))
    for turn in range(rounds):
        step = np.zeros_like(y)
        near = graph.adjncy[graph.xadj[linked] + (rng.random(len(linked)) * count[linked]).astype(np.int64)]
        away = y[linked] - y[near]
        step[linked] -= 2 * away / (1 + (away**2).sum(axis=1, keepdims=True))
        away = y - y[rng.integers(n, size=(5, n))]
        square = (away**2).sum(axis=2, keepdims=True)
        step += np.clip(2 * away / ((0.01 + square) * (1 + square)), -4, 4).sum(axis=0)
        y += (1 - turn / rounds) * np.clip(step, -4, 4)
    return y


def draw(graph: Affinity, solution: Solution, k: int, verdict: Verdict) -> Array:
    """The clustering as a (700, 960, 3) uint8 picture."""
    labels, colours = np.asarray(solution["labels"]), palette(k)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    image.paste(_map(graph, labels, colours), (0, TOP))
    pen = ImageDraw.Draw(image)
    title = cut_front(pen, graph.name, 420, 16)
    pen.text((MARGIN, 12), f"{title}   {graph.nodes} points, k = {k}", "black", ImageFont.load_default(16))
    line = f"ncut {verdict.cost:.4f} of {k}, {verdict.metrics['clusters']:g} clusters have points"
    pen.text((MARGIN, 36), line, "black", ImageFont.load_default(13))
    _list(image, graph, labels, k, colours)
    return np.asarray(image, np.uint8).copy()


def _map(graph: Affinity, labels: Array, colours: list[Colour]) -> Image.Image:
    """Points and edges, (600, 600) pixels."""
    image = Image.new("RGB", (SIDE * FINE, SIDE * FINE), "white")
    pen = ImageDraw.Draw(image)
    xy = (layout(graph) * (SIDE - 2 * MARGIN) + MARGIN) * FINE
    _edges(pen, graph, labels, xy, colours)
    radius = FINE * float(np.clip(60 / np.sqrt(max(graph.nodes, 1)), 0.8, 5.0))
    for (x, y), c in zip(xy.tolist(), labels.tolist(), strict=True):
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colours[c])
    return image.reduce(FINE)


def _edges(pen: ImageDraw.ImageDraw, graph: Affinity, labels: Array, xy: Array, colours: list[Colour]) -> None:
    """Edges inside clusters in a light shade of their colour; those between clusters in grey, dark ones on top where
    they are few, else light ones below.
    """
    once = np.flatnonzero(graph.sources < graph.adjncy)
    if len(once) > EDGES:  # evenly spread ones stand for all
        once = once[:: -(-len(once) // EDGES)]
    crossing = labels[graph.sources[once]] != labels[graph.adjncy[once]]
    few = int(crossing.sum()) <= FEW
    between, within = (once[crossing], GREY if few else (222, 222, 222)), (once[~crossing], None)
    for chosen, colour in (within, between) if few else (between, within):
        for u, v in zip(graph.sources[chosen].tolist(), graph.adjncy[chosen].tolist(), strict=True):
            light = tuple((c + 2 * 235) // 3 for c in colours[labels[u]])
            pen.line([tuple(xy[u]), tuple(xy[v])], fill=colour or light, width=FINE)


def _list(image: Image.Image, graph: Affinity, labels: Array, k: int, colours: list[Colour]) -> None:
    """A row for each cluster: its points, its cut over its volume, and some of its images where points are images."""
    cut, volume, sizes = cluster_values(graph, labels, k)
    terms, small, pen = ncut_terms(cut, volume), ImageFont.load_default(12), ImageDraw.Draw(image)
    images = images_of(graph.name, graph.nodes)
    left, middle, step = SIDE + 20, SIDE + (118 if images is not None else 190), 24
    wide = 60 if images is not None else 80
    pen.text((left + 22, TOP), "points", GREY, small)
    pen.text((middle, TOP), "cut / volume", GREY, small)
    order = np.argsort([-term for term in terms], kind="stable")[:SHOWN].tolist()
    for row, c in enumerate(sorted(order)):
        y = TOP + 22 + row * step
        pen.rectangle([left, y + 2, left + 12, y + 14], fill=colours[c])
        pen.rectangle([left + 22, y + 2, left + 22 + wide * sizes[c] / max(sizes), y + 14], fill=(200, 200, 200))
        pen.text((left + 26, y), f"{sizes[c]}", "black", small)
        if images is None:
            length = 80 * terms[c] / max(*terms, 1e-12)
            pen.rectangle([middle, y + 2, middle + length, y + 14], fill=(220, 150, 140))
        pen.text((middle + (0 if images is not None else 86), y), f"{terms[c]:.3g}", "black", small)
        if images is not None:
            _samples(image, images, np.flatnonzero(labels == c), (middle + 54, y - 2))
    if k > SHOWN:
        pen.text((left, HEIGHT - 30), f"the {SHOWN} of largest share among {k} clusters", GREY, small)


def _samples(image: Image.Image, images: Array, own: Array, at: tuple[int, int]) -> None:
    """Some images of a cluster's points `own`, evenly spread among them, in a row, dark on light."""
    chosen = own[:: max(1, len(own) // SAMPLES)][:SAMPLES]
    for place, point in enumerate(chosen.tolist()):
        pixels = images[point].astype(np.float64)
        shade = 255 - 255 * (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-12)
        thumb = Image.fromarray(shade.astype(np.uint8)).resize((THUMB, THUMB), Image.Resampling.BILINEAR)
        image.paste(thumb.convert("RGB"), (at[0] + place * (THUMB + 2), at[1]))


def describe(graph: Affinity, solution: Solution, k: int, verdict: Verdict) -> str:
    """A few lines of text: the normalised cut, then size, volume and cut over volume of each cluster."""
    labels = np.asarray(solution["labels"])
    cut, volume, sizes = cluster_values(graph, labels, k)
    lines = [f"{graph.name}: {graph.nodes} points, {graph.edges} edges, k={k}", f"ncut {verdict.cost:.6f} of {k}"]
    rows = zip(sizes.tolist(), (volume * graph.unit).tolist(), ncut_terms(cut, volume), strict=True)
    shown = [f"  cluster {c}: {n} points, volume {v:.6g}, ncut {term:.6f}" for c, (n, v, term) in enumerate(rows)]
    return "\n".join([*lines, *shown[:32], *([f"  ... and {k - 32} more clusters"] if k > 32 else [])])
