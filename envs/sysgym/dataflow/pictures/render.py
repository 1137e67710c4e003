"""Pictures of an execution: what devices and links do over time, and how full their memories are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sysgym.core.drawing.tools import size, steps, unit_of
from sysgym.core.problem import Array
from sysgym.dataflow.graphs.graph import PHASES
from sysgym.dataflow.pictures.summary import by_phase, coverage, headlines, limits, load_parts
from sysgym.dataflow.pictures.timeline import Execution, execute, memory_timeline
from sysgym.dataflow.simulator.job import Job
from sysgym.dataflow.simulator.simulate import Outcome

WIDE, LEFT, RIGHT, TOP, MARGIN = 1120, 136, 26, 104, 12  # pixels: of a page, beside and above the time axis
PLOT, STAGES = WIDE - LEFT - RIGHT, 48  # width of the time axis; frames of an animation
SHADES = np.array([[(150, 195, 240), (18, 66, 140)], [(255, 206, 140), (190, 74, 8)], [(165, 220, 160), (24, 110, 50)]],
                  float)  # fmt: skip
BLUE, SENDS, RECEIVES, FULL, OVER, LIMIT = (
    (66, 118, 184), (132, 94, 176), (62, 150, 150), (176, 186, 202), (214, 40, 40), (60, 60, 60))  # fmt: skip
GREY, GRID, BACK, PALE = (110, 110, 110), (222, 222, 222), (247, 247, 247), (255, 214, 214)


class _Layout(NamedTuple):
    """Pixels: heights of the rows of a device, and where rows begin."""

    bar: int
    link: int
    strip: int
    gap: int
    devices: int

    @property
    def block(self) -> int:
        """Height of a device's rows."""
        return self.bar + 2 * (self.link + 1) * (self.link > 0) + self.gap

    @property
    def axis(self) -> int:
        """Where the labels of the time axis stand."""
        return TOP + self.devices * self.block

    def memory(self, d: int) -> int:
        """Top of a device's memory."""
        return self.axis + 44 + d * (self.strip + self.gap)


def _layout(devices: int) -> _Layout:
    bar, link, strip, gap = (28, 9, 36, 8) if devices <= 8 else (15, 4, 18, 4) if devices <= 24 else (11, 2, 11, 2)
    return _Layout(bar, link if devices > 1 else 0, strip, gap, devices)


def highest(times: Array, values: Array, columns: int) -> Array:
    """Largest value of a step function in each column, (columns,); times (K,) in columns, the first is 0."""
    found = values[np.searchsorted(times, np.arange(columns), side="right") - 1]
    np.maximum.at(found, np.minimum(times.astype(np.int64), columns - 1), values)
    return np.asarray(found)


def _stack(page: Array, top: int, height: int, shares: Array, colours: Array) -> None:
    """Columns of stacked shares (P, PLOT) in colours (P, PLOT, 3); the least share gets a pixel."""
    level = np.ceil(np.minimum(np.cumsum(shares, axis=0), 1) * height - 1e-6).astype(int)
    row = np.arange(height)[::-1, None]
    area = page[top : top + height, LEFT : LEFT + PLOT]
    for below, above, colour in zip(np.concatenate([[level[0] * 0], level[:-1]]), level, colours, strict=True):
        area[:] = np.where(((row >= below) & (row < above))[..., None], colour, area)


def _lanes(page: Array, job: Job, run: Execution, outcome: Outcome, lay: _Layout) -> None:
    """The rows of the devices and of their links."""
    scale = PLOT / max(outcome.makespan_ns, 1)
    owner, target = run.placement[run.graph.tensor_src[outcome.moves[:, 0]]], outcome.moves[:, 1]
    for d in range(job.devices):
        y = TOP + d * lay.block
        shares, layers = by_phase(run, outcome, d, PLOT)
        light, dark = SHADES[:, :1], SHADES[:, 1:]
        _stack(page, y, lay.bar, shares, light + (dark - light) * layers[..., None])
        wide = (run.placement == d) & ((outcome.finish - outcome.start) * scale >= 5)
        edge = LEFT + np.minimum((outcome.start[wide] * scale).astype(int), PLOT - 1)
        page[y : y + lay.bar, edge] = page[y : y + lay.bar, edge] // 3 + 170
        for end, colour, at in ((owner, SENDS, 0), (target, RECEIVES, 1)) if lay.link else ():
            begin, until = (outcome.spans[end == d] * scale).T
            share = coverage(begin, until, PLOT)
            share[share < 1e-9] = 0
            row = y + lay.bar + 1 + at * (lay.link + 1)
            _stack(page, row, lay.link, share[None], np.broadcast_to(colour, (1, PLOT, 3)))


def _memory(page: Array, job: Job, run: Execution, outcome: Outcome, lay: _Layout) -> float:
    """The memory of every device; what exceeds its capacity is red. Returns the bytes of a strip's height."""
    limit, most = limits(job), max(float(outcome.peak_bytes.max()), 1.0)
    top = 1.08 * max(most, float(limit.max()) if limit.max() <= 4 * most else 0.0)
    scale = PLOT / max(outcome.makespan_ns, 1)
    for d, (times, held) in enumerate(memory_timeline(run.graph, job.cluster, run.placement, outcome)):
        values = highest(times * scale, held, PLOT)
        within = np.minimum(values, limit[d])
        page[lay.memory(d) : lay.memory(d) + lay.strip, LEFT + np.flatnonzero(values > limit[d])] = PALE
        shares = np.stack([within, values - within]) / top
        colours = np.broadcast_to(np.array([FULL, OVER])[:, None], (2, PLOT, 3))
        _stack(page, lay.memory(d), lay.strip, shares, colours)
    return top


def draw(job: Job, solution: Any) -> Array:
    """An execution as a picture, (H, 1120, 3) uint8; InvalidSolution if the solution is none.

    A row for the operators of each device, one for what it sends and one for what it receives, then its memory over
    time. Where many operators share a column of pixels, the height of a bar is the share of time that is busy.
    For throughput, where no order exists, the loads of the devices.
    """
    run = execute(job, solution)
    return _loads(job, run) if run.outcome is None else _chart(job, run, run.outcome)


def frames(job: Job, solution: Any) -> list[Array]:
    """The picture as time passes, (H, 1120, 3) uint8 each; a single one where nothing has a time."""
    run = execute(job, solution)
    if run.outcome is None:
        return [_loads(job, run)]
    whole, pages = _chart(job, run, run.outcome), []
    blank = _chart(job, run, run.outcome, shown=False)
    for cut in np.linspace(LEFT, LEFT + PLOT, STAGES, dtype=int)[:-1].tolist():
        pages.append(np.concatenate([whole[:, :cut], blank[:, cut:]], axis=1))
        pages[-1][: TOP - 2] = whole[: TOP - 2]
    return [*pages, whole]


def _chart(job: Job, run: Execution, outcome: Outcome, shown: bool = True) -> Array:
    lay = _layout(job.devices)
    page = np.full((lay.memory(job.devices) + MARGIN, WIDE, 3), 255, np.uint8)
    ticks = _ticks(outcome.makespan_ns)
    marks = {LEFT + min(round(t * PLOT / max(outcome.makespan_ns, 1)), PLOT): text for t, text in ticks}
    for top, bottom in ((TOP - 4, lay.axis - lay.gap + 4), (lay.memory(0) - 4, lay.memory(job.devices) - lay.gap + 4)):
        page[top:bottom, LEFT : LEFT + PLOT] = BACK
        page[top:bottom, [*marks]] = GRID
    scale = _memory(page if shown else page.copy(), job, run, outcome, lay)
    if shown:
        _lanes(page, job, run, outcome, lay)
    drawn = np.flatnonzero(limits(job) <= scale)
    image = Image.fromarray(page)
    pen = ImageDraw.Draw(image)
    for x, text in marks.items():
        pen.text((x, lay.axis), text, GREY, _font(11), anchor="mt")
    if shown:
        _names(pen, run, outcome, lay)
    for d in drawn.tolist():
        y = lay.memory(d) + lay.strip - round(limits(job)[d] / scale * lay.strip)
        for x in range(LEFT, LEFT + PLOT, 12):
            pen.line((x, y, x + 6, y), fill=LIMIT)
    _labels(pen, job, outcome, lay)
    pen.text((MARGIN, lay.memory(0) - 20), "memory (dashed: capacity)" if len(drawn) else "memory", GREY, _font(11))
    _heading(pen, job, run)
    _legend(pen, _keys(job, run), "light to dark: first to last layer" if run.graph.layer.any() else "")
    return np.asarray(image, np.uint8).copy()


def _keys(job: Job, run: Execution) -> list[tuple[str, Array]]:
    """Names and two colours, light and dark, of what the chart shows."""
    present = [phase for phase in range(3) if (run.graph.phase[run.graph.time_ns > 0] == phase).any()]
    links = (("sends", SENDS), ("receives", RECEIVES)) if job.devices > 1 else ()
    return [*((PHASES[phase], SHADES[phase]) for phase in present), *((text, _plain(colour)) for text, colour in links)]


def _plain(colour: tuple[int, int, int]) -> Array:
    return np.array([colour, colour], float)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _names(pen: ImageDraw.ImageDraw, run: Execution, outcome: Outcome, lay: _Layout) -> None:
    """Names of the operators whose bars are wide enough for them."""
    scale, font = PLOT / max(outcome.makespan_ns, 1), _font(10)
    wide = np.flatnonzero(((outcome.finish - outcome.start) * scale >= 24) & (lay.bar >= 14))
    for v in wide.tolist():
        more = f" +{run.members[v] - 1}" if run.members[v] > 1 else ""
        text, room = run.graph.op_types[run.graph.op[v]] + more, (outcome.finish[v] - outcome.start[v]) * scale
        if pen.textlength(text, font) + 4 <= room:
            dark = run.graph.layer[v] * 5 > run.graph.layer.max() * 2
            at = LEFT + outcome.start[v] * scale + room / 2, TOP + int(run.placement[v]) * lay.block + lay.bar / 2
            pen.text(at, text, "white" if dark else "black", font, anchor="mm")


def _labels(pen: ImageDraw.ImageDraw, job: Job, outcome: Outcome, lay: _Layout) -> None:
    """What the rows are."""
    busy = 100 * outcome.busy_ns / max(outcome.makespan_ns, 1)
    small = _font(11 if lay.bar > 12 else 9)
    for d, limit in enumerate(limits(job).tolist()):
        y, name = TOP + d * lay.block, f"{job.cluster.kinds[d][:8]} {d}"
        peak = float(outcome.peak_bytes[d])
        held = size(peak) + (f" of {size(limit)}" if np.isfinite(limit) else "")
        ink = OVER if peak > limit else GREY
        if lay.bar > 20:
            pen.text((MARGIN, y + 1), name, "black", _font(13))
            pen.text((MARGIN, y + 19), f"{busy[d]:.1f} % busy", GREY, small)
            pen.text((MARGIN, lay.memory(d) + 1), name, "black", _font(13))
            pen.text((MARGIN, lay.memory(d) + 19), held, ink, small)
        else:
            pen.text((MARGIN, y), f"{name}  {busy[d]:.0f} %", "black", small)
            pen.text((MARGIN, lay.memory(d)), f"{name}  {held}", ink if ink == OVER else "black", small)
        for text, row in (("out", 0), ("in", 1)) if lay.link > 6 else ():
            middle = y + lay.bar + 1 + row * (lay.link + 1) + lay.link / 2
            pen.text((LEFT - 6, middle), text, GREY, _font(9), anchor="rm")


def _heading(pen: ImageDraw.ImageDraw, job: Job, run: Execution) -> None:
    title, line, *notes = headlines(job, run)
    pen.text((MARGIN, 9), title, "black", _font(16))
    pen.text((MARGIN, 34), line, "black", _font(13))
    over = run.score.over_bytes > 0
    text = "; ".join(notes)
    font = _font(12)
    while pen.textlength(text, font) > WIDE - 2 * MARGIN:
        text = text[: -max(4, len(text) // 20)].rstrip(". ") + " ..."
    pen.text((MARGIN, 55), text, OVER if over else GREY, font)


def _legend(pen: ImageDraw.ImageDraw, keys: list[tuple[str, Array]], note: str) -> None:
    """Names beside samples of their colours, from light to dark."""
    x, font = LEFT, _font(11)
    for text, (light, dark) in keys:
        for i in range(24):
            pen.line((x + i, 78, x + i, 88), fill=tuple((light + (dark - light) * i / 23).astype(int).tolist()))
        pen.text((x + 30, 76), text, "black", font)
        x += 30 + round(pen.textlength(text, font)) + 18
    pen.text((x, 76), note, GREY, font)


def _loads(job: Job, run: Execution) -> Array:
    """Bars for throughput: how long a sample occupies each device, by operators and by transfers."""
    compute, loads = load_parts(job, run)
    lay = _layout(job.devices)._replace(link=0)
    top = max(float(loads.max()), job.expert_ns, 1.0)
    image = Image.new("RGB", (WIDE, lay.axis + 24 + MARGIN), "white")
    pen = ImageDraw.Draw(image)
    for t, text in _ticks(int(top)):
        x = LEFT + round(t / top * PLOT)
        pen.line((x, TOP - 4, x, lay.axis - 4), fill=GRID)
        pen.text((x, lay.axis), text, GREY, _font(11), anchor="mt")
    held = np.bincount(run.placement, weights=run.graph.param_bytes, minlength=job.devices)
    small = _font(11 if lay.bar > 12 else 9)
    for d in range(job.devices):
        y = TOP + d * lay.block
        middle, end = (LEFT + round(float(part[d]) / top * PLOT) for part in (compute, loads))
        if middle > LEFT:
            pen.rectangle((LEFT, y, middle - 1, y + lay.bar - 1), fill=BLUE)
        if end > middle:
            pen.rectangle((middle, y, end - 1, y + lay.bar - 1), fill=SENDS)
        name = f"{job.cluster.kinds[d][:8]} {d}"
        inside = f"{size(held[d])} of {size(float(job.capacity[d]))}"
        ink = OVER if held[d] > job.capacity[d] else GREY
        pen.text((MARGIN, y + (lay.bar > 20)), name, "black", _font(13) if lay.bar > 20 else small)
        if lay.bar > 20:
            pen.text((MARGIN, y + 16), inside, ink, small)
    x = LEFT + round(job.expert_ns / top * PLOT)
    pen.line((x, TOP - 6, x, lay.axis - 3), fill=(30, 30, 30), width=2)
    _heading(pen, job, run)
    names = (("operators", BLUE), ("transfers", SENDS), ("largest of the expert", (0, 0, 0)))
    _legend(pen, [(text, _plain(colour)) for text, colour in names], "")
    return np.asarray(image, np.uint8).copy()


def _ticks(span: int) -> list[tuple[float, str]]:
    """About eight round times from 0 to span, ns, with their labels."""
    unit, name = unit_of(span)
    return [(t * unit, f"{t:g} {name}") for t in steps(max(span, 1) / unit)]
