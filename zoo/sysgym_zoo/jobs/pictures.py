"""Pictures, animations, traces, learning curves and Pareto fronts as files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from sysgym import UsageError
from sysgym.core.errors import MissingDependency, reading
from sysgym.core.problem import Array, Axis
from sysgym.core.registry import make_problem
from sysgym.core.solutions import parse_json
from sysgym_zoo.jobs.report import read_rows
from sysgym_zoo.lookup.records import load_run
from sysgym_zoo.tracking.vocabulary import name_of, named

LENGTH, LAST = 8000, 2000  # milliseconds of an animation, and of its last frame
USUAL = ("eval/ratio", "eval/cost", "sysgym/cost_ratio", "sysgym/cost", "rollout/ep_rew_mean", "train/ncut",
         "train/loss")  # fmt: skip
MOST = 4  # metrics that are shown unless they are named


def save(frames: list[Array], path: Path) -> None:
    """Write (H, W, 3) uint8 frames of one size: one as a picture, several as a GIF whose last frame stays longer."""
    pictures = [Image.fromarray(frame) for frame in frames]
    try:
        if len(pictures) == 1:
            pictures[0].save(path)
            return
        drawn = [picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=256) for picture in pictures]
        each = min(500, max(20, LENGTH // len(drawn)))
        drawn[0].save(path, format="GIF", save_all=True, append_images=drawn[1:], loop=0,
                      duration=[each] * (len(drawn) - 1) + [LAST])  # fmt: skip
    except ValueError as error:
        raise UsageError(f"cannot write {path}: use a name that ends in .png or .gif.") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}.") from error


def save_trace(trace: Mapping[str, Any], path: Path) -> None:
    """Write what a problem's `trace` returns as JSON."""
    try:
        path.write_text(json.dumps(trace, separators=(",", ":")) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}.") from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows that a training logged, those of an older run under the names of today; UsageError if there are none."""
    load_run(folder)
    file = folder / "metrics.jsonl"
    rows = []
    with reading(file):
        for line in file.read_text().splitlines() if file.is_file() else ():
            row = parse_json(line)
            rows.append(named(row) if isinstance(row, dict) else {})
    rows = [row for row in rows if isinstance(row.get("steps"), int | float)]
    if not rows:
        raise UsageError(f"{folder} holds no metrics; `sysgym train` writes them, an evaluation has none.")
    return rows


def plot(folders: Sequence[Path], names: Sequence[str], output: Path | None) -> Path:
    """Draw runs into a .png, .svg or .pdf file: of trainings the metrics over steps, a panel a metric and a line a run;
    of evaluations all answers by two metrics, a panel an instance.
    """
    if output is not None and output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"cannot write {output}: use a name that ends in .png, .svg or .pdf.")
    evaluated = [load_run(folder)["kind"] == "evaluate" for folder in folders]
    if any(evaluated):
        if not all(evaluated):
            raise UsageError("trainings and evaluations are drawn apart; name runs of one kind.")
        if names:
            raise UsageError("--metric is for trainings; of evaluations the problem says which metrics are shown.")
        axes = axes_of(folders)
        drawn = front_figure(answers_of(folders, axes), axes)
    else:
        runs = {str(folder): read_metrics(folder) for folder in folders}
        drawn = _curves_figure(runs, _chosen(runs, names))
    output = output or Path("front.png" if any(evaluated) else "curves.png")
    try:
        drawn.savefig(output, dpi=120)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}.") from error
    return output


def _chosen(runs: dict[str, list[dict[str, Any]]], names: Sequence[str]) -> list[str]:
    """The metrics that were asked for, or the usual ones; UsageError for one that no run logged."""
    known = sorted({key for rows in runs.values() for row in rows for key, value in row.items() if _is_number(value)})
    for name in names:
        if name_of(name) not in known:
            raise UsageError(f"no run logged {name!r}; they logged {', '.join(known)}.")
    return [name_of(name) for name in names] or [name for name in USUAL if name in known][:MOST] or known[:1]


def _panels(count: int, across: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A figure of so many panels, `across` in a row, and their axes."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("sysgym plot needs matplotlib: pip install 'sysgym[plots]'.") from error

    across = min(across, count)
    down = -(-count // across)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _curves_figure(runs: dict[str, list[dict[str, Any]]], names: Sequence[str]) -> Any:
    """Metrics over steps."""
    figure, axes = _panels(len(names), len(names), (5, 3.6))
    from matplotlib import ticker

    for axis, name in zip(axes, names, strict=True):
        for i, (label, rows) in enumerate(runs.items()):
            points = [(row["steps"], row[name]) for row in rows if _is_number(row.get(name))]
            if points:
                mark = "o" if len(points) < 3 else None
                axis.plot(*zip(*points, strict=True), label=Path(label).name, marker=mark, color=f"C{i % 10}")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("steps")
        axis.grid(alpha=0.3)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
        axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    _legend(figure, axes)
    return figure


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend below all panels."""
    pairs = [axis.get_legend_handles_labels() for axis in axes]
    known = {label: handle for handles, labels in pairs for handle, label in zip(handles, labels, strict=True)}
    columns = min(len(known), 4)
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=columns, fontsize=9)


class Answer(NamedTuple):
    """An answer of an evaluation by two metrics."""

    agent: str  # with its run before it where there are several
    at: tuple[float, float]
    feasible: bool


def axes_of(folders: Sequence[Path]) -> tuple[Axis, Axis]:
    """The two metrics of the problem of evaluations; UsageError for several problems, and where one has none."""
    found = list(dict.fromkeys(load_run(folder)["problem"]["name"] for folder in folders))
    if len(found) > 1:
        raise UsageError(f"runs of several problems, {' and '.join(found)}, have no common axes; draw them apart.")
    problem = make_problem(found[0])
    if not problem.tradeoff:
        raise UsageError(
            f"{problem.name} names no two metrics that pull against each other; `sysgym report` has tables of "
            "evaluations, `sysgym plot` curves of trainings."
        )
    first, second = problem.tradeoff
    return first, second


def answers_of(folders: Sequence[Path], axes: tuple[Axis, Axis]) -> dict[str, list[Answer]]:
    """The answers of evaluations by instance; UsageError where a row lacks one of the metrics."""
    found: dict[str, list[Answer]] = {}
    for folder in folders:
        for row in read_rows(folder):
            told = row.get("metrics")
            at = [told.get(axis.metric) if isinstance(told, dict) else None for axis in axes]
            if not all(map(_is_number, at)):
                raise UsageError(
                    f"{folder} has no {axes[0].metric} or no {axes[1].metric} of {row['agent']} on {row['instance']}; "
                    "evaluate it again."
                )
            x, y = map(float, at)  # type: ignore[arg-type]
            name = row["agent"] if len(folders) == 1 else f"{folder.name}: {row['agent']}"
            answer = Answer(name, (x, y), row["feasible"])
            found.setdefault(row["instance"], []).append(answer)
    return found


def front(points: Sequence[tuple[float, float]], more: tuple[bool, bool] = (False, False)) -> list[int]:
    """The points that no other is better than in one number and as good in the other, by the first; of equal ones one.
    `more`: whether more of each number is better.

    >>> front([(1, 5), (2, 2), (3, 3), (4, 1)]), front([(1, 5), (2, 2), (3, 7)], (False, True))
    ([0, 1, 3], [0, 2])
    """
    signs = [-1 if each else 1 for each in more]
    costs = [(signs[0] * x, signs[1] * y) for x, y in points]
    kept: list[int] = []
    for i in sorted(range(len(costs)), key=costs.__getitem__):
        if not kept or costs[i][1] < costs[kept[-1]][1]:
            kept.append(i)
    return sorted(kept, key=lambda i: points[i])


def front_figure(answers: Mapping[str, list[Answer]], axes: tuple[Axis, Axis]) -> Any:
    """All answers of each instance, and their Pareto front."""
    figure, panels = _panels(len(answers), 2 if len(answers) == 4 else 3, (4.6, 3.8))
    agents = list(dict.fromkeys(answer.agent for found in answers.values() for answer in found))
    more = axes[0].more, axes[1].more
    for panel, (name, found) in zip(panels, answers.items(), strict=True):
        feasible = [answer.at for answer in found if answer.feasible]
        line = [feasible[i] for i in front(feasible, more)]
        style = "steps-pre" if more[0] else "steps-post"
        if line:
            panel.plot(*zip(*line, strict=True), color="0.6", drawstyle=style, zorder=1, label="Pareto front")
        for answer in found:
            colour = f"C{agents.index(answer.agent) % 10}"
            mark, label = ("o", answer.agent) if answer.feasible else ("x", f"{answer.agent}, infeasible")
            panel.plot(*answer.at, mark, color=colour, markersize=6, alpha=0.8, label=label, zorder=2)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(_words(axes[0]), fontsize=9)
        panel.set_ylabel(_words(axes[1]), fontsize=9)
        panel.margins(0.08)
        panel.grid(alpha=0.3)
    _legend(figure, panels)
    return figure


def _words(axis: Axis) -> str:
    """What stands at an axis."""
    return f"{axis.about}\n({'more' if axis.more else 'less'} is better)"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
