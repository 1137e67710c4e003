"""Pictures, animations, traces and learning curves as files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from sysgym import UsageError
from sysgym.core.errors import MissingDependency, reading
from sysgym.core.problem import Array
from sysgym.core.solutions import parse_json
from sysgym_zoo.lookup.records import load_run

LENGTH, LAST = 8000, 2000  # milliseconds of an animation, and of its last frame
USUAL = ("eval/ratio", "eval/cost", "rollout/ratio", "rollout/cost", "rollout/ep_rew_mean", "cost", "return", "reward",
         "ncut", "loss")  # fmt: skip
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
    """The rows that a training logged; UsageError if there are none."""
    load_run(folder)
    file = folder / "metrics.jsonl"
    rows = []
    with reading(file):
        for line in file.read_text().splitlines() if file.is_file() else ():
            row = parse_json(line)
            rows.append(row if isinstance(row, dict) else {})
    rows = [row for row in rows if isinstance(row.get("steps"), int | float)]
    if not rows:
        raise UsageError(f"{folder} holds no metrics; `sysgym train` writes them, an evaluation has none.")
    return rows


def plot(folders: Sequence[Path], names: Sequence[str], output: Path) -> Path:
    """Draw metrics over steps, a panel a metric and a line a run, into a .png, .svg or .pdf file."""
    if output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"cannot write {output}: use a name that ends in .png, .svg or .pdf.")
    runs = {str(folder): read_metrics(folder) for folder in folders}
    known = sorted({key for rows in runs.values() for row in rows for key, value in row.items() if _is_number(value)})
    for name in names:
        if name not in known:
            raise UsageError(f"no run logged {name!r}; they logged {', '.join(known)}.")
    chosen = list(names) or [name for name in USUAL if name in known][:MOST] or known[:1]
    _draw(runs, chosen, output)
    return output


def _draw(runs: dict[str, list[dict[str, Any]]], names: Sequence[str], output: Path) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependency("sysgym plot needs matplotlib: pip install 'sysgym[plots]'.") from error

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(1, len(names), figsize=(5 * len(names), 3.6), squeeze=False, layout="constrained")
    for axis, name in zip(axes[0], names, strict=True):
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
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 4), fontsize=9)
    try:
        figure.savefig(output, dpi=120)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}.") from error
    finally:
        pyplot.close(figure)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
