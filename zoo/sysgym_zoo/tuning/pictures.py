"""Pictures of a study: parallel coordinates of its trials, and how much each hyper-parameter matters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import MissingDependency
from sysgym_zoo.jobs.console import number, say
from sysgym_zoo.tuning.study import Study, library, quiet

FEWEST = 6  # complete trials of which an importance is computed
WINNER, SHIPPED = "#d62728", "black"


def draw(study: Study) -> list[Path]:
    """Write the pictures of a study into its folder; their paths. None without matplotlib, with a word on stderr."""
    complete = [trial for trial in study.finished() if trial.state.name == "COMPLETE"]
    if not complete:
        return []
    try:
        figures = {"parallel.png": parallel(study, complete)}
        if len(complete) >= FEWEST and len(study.facts["space"]) > 1:
            figures["importance.png"] = bars(importances(study), len(complete))
    except MissingDependency as error:
        say(f"note: there are no pictures: {error}")
        return []
    for name, figure in figures.items():
        figure.savefig(study.folder / name, dpi=110)
    return [study.folder / name for name in figures]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("pictures need matplotlib: pip install 'sysgym[plots]'.") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


class Axis:
    """One upright line of parallel coordinates: where values stand on it, from 0 to 1, and its labels."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        self.choices: Sequence[Any] = place.get("choices", ())
        self.log = bool(place.get("log"))
        self.low, self.high = (0.0, 0.0) if self.choices else (self._scaled(place["low"]), self._scaled(place["high"]))

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)

    def at(self, value: Any) -> float:
        """The place of a value."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        span = self.high - self.low
        return min(1.0, max(0.0, (self._scaled(value) - self.low) / span)) if span else 0.5

    def labels(self) -> list[tuple[float, str]]:
        """Places and texts."""
        if self.choices:
            return [(self.at(value), number(value)) for value in self.choices]
        places = [self.low + share * (self.high - self.low) for share in (0.0, 0.5, 1.0)]
        values = [math.exp(place) if self.log else place for place in places]
        return [(self.at(value), f"{value:.3g}") for value in values]


def parallel(study: Study, complete: Sequence[Any]) -> Any:
    """A line a complete trial through its hyper-parameters to its value, the best in dark; winner and start stand out.

    Trials with infeasible answers end above the last axis.
    """
    space, best, shipped = study.facts["space"], study.best(), study.shipped()
    sane = [trial.value for trial in complete if not trial.user_attrs.get("missed")] or [best.value]
    span = {"low": min(sane), "high": max(sane), "log": False}
    axes = {**{name: Axis(place) for name, place in space.items()}, "valid": Axis(span)}
    figure, panel = _figure(1.5 * len(axes) + 1.5, 4.6)
    from matplotlib import colormaps

    order = {trial.number: rank for rank, trial in enumerate(sorted(complete, key=lambda one: -one.value))}
    rng = np.random.default_rng(0)
    for trial in sorted(complete, key=lambda one: order[one.number]):
        ends = 1.06 if trial.user_attrs.get("missed") else axes["valid"].at(trial.value)
        heights = [axes[name].at(trial.params[name]) for name in space]
        spread = [0.25 / len(axis.choices) if axis.choices else 0.0 for axis in axes.values()]
        heights = [h + s * rng.uniform(-1, 1) for h, s in zip(heights, spread, strict=False)] + [ends]
        shade = colormaps["Blues"](0.25 + 0.75 * order[trial.number] / max(1, len(complete) - 1))
        looks: dict[str, Any] = {"color": shade, "lw": 1.2}
        if shipped is not None and trial.number == shipped.number:
            looks = {"color": SHIPPED, "lw": 2.0, "ls": "--", "label": f"shipped: {number(shipped.value)}", "zorder": 4}
        if trial.number == best.number:
            kept = looks if looks.get("label") else {}
            said = f"winner, trial {best.number}: {number(best.value)}"
            looks = {"color": WINNER, "lw": 2.4, "label": said, "zorder": 5, "ls": kept.get("ls", "-")}
        panel.plot(range(len(axes)), heights, **looks)
    for x, axis in enumerate(axes.values()):
        panel.axvline(x, color="0.6", lw=0.8, zorder=0)
        for y, text in axis.labels():
            panel.text(x - 0.04, y, text, ha="right", va="center", fontsize=8, zorder=6,
                       bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8})  # fmt: skip
    names = [f"{name} (log)" if axis.log else name for name, axis in axes.items()]
    panel.set_xticks(
        range(len(axes)), [name.replace("_", "_\n") if len(name) > 12 else name for name in names], fontsize=9
    )
    panel.set(ylim=(-0.05, 1.1), yticks=[], xlim=(-0.6, len(axes) - 0.8))
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    panel.set_title(f"{study.facts['recipe'] or study.facts['agent']}: {len(complete)} complete trials, dark is better "
                    f"(valid: {study.facts['eval']['instances']}, lower is better)", fontsize=10)  # fmt: skip
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def importances(study: Study) -> dict[str, float]:
    """How much each hyper-parameter matters: its share of the variance of the trials' ranks (fANOVA), by name.

    Of ranks, so that a trial with infeasible answers, whose value is huge, does not decide alone.
    """
    complete = [trial for trial in study.finished() if trial.state.name == "COMPLETE"]
    ordered = sorted(complete, key=lambda trial: (trial.value, trial.number))
    rank = {trial.number: float(place) for place, trial in enumerate(ordered)}
    importance = library().importance
    with quiet():
        found = importance.get_param_importances(
            study.optuna, evaluator=importance.FanovaImportanceEvaluator(seed=0), target=lambda one: rank[one.number],
        )  # fmt: skip
    return {name: float(share) for name, share in found.items()}


def bars(shares: Mapping[str, float], trials: int) -> Any:
    """Bars, the largest above."""
    names = sorted(shares, key=lambda name: shares[name])
    figure, panel = _figure(6.4, 0.36 * len(names) + 1.3)
    drawn = panel.barh(names, [shares[name] for name in names], color="#4c78a8", height=0.7)
    panel.bar_label(drawn, [f"{100 * shares[name]:.0f} %" for name in names], padding=3, fontsize=8)
    panel.set(xlim=(0, max(1e-9, *shares.values()) * 1.15))
    panel.set_xlabel(f"share of the variance of the ranks of {trials} complete trials (fANOVA)", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9)
    return figure
