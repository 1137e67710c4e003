"""`sysgym labels`: how far the labels of a clustering agree with true classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sysgym_zoo.cli.app import AsJson


def labels(
    solution: Annotated[Path, typer.Argument(help="Labels: .json, .npz, .npy, or one a line; or an evaluation run.")],
    truth: Annotated[
        str | None, typer.Argument(help="True classes: a file like it, or a registered instance. Not for a run.")
    ] = None,
    noise: Annotated[str | None, typer.Option(help="Class of points that do not count, in a file.")] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file to put the table of a run into.")] = None,
    name: Annotated[str, typer.Option(help="Name of the marker in that file.")] = "labels",
    as_json: AsJson = False,
) -> None:
    """Compare labels with true classes: ACC, NMI and ARI. No agent and no reward ever sees these."""
    from sysgym.core.errors import UsageError

    if solution.is_dir():
        if truth is not None or noise is not None:
            raise UsageError(f"{solution} is a run, whose instances say their classes; leave TRUTH and --noise out.")
        _run(solution, write, name, as_json)
    elif truth is None or write is not None:
        raise UsageError(
            "a file of labels needs the true classes as well, a file or a registered instance; --write is for runs."
        )
    else:
        _file(solution, truth, noise, as_json)


def _run(folder: Path, write: Path | None, name: str, as_json: bool) -> None:
    from sysgym_zoo.jobs.console import show_json, tell
    from sysgym_zoo.jobs.report import update
    from sysgym_zoo.tools.agreeing import compared

    lines, text = compared([folder])
    if write is not None:
        update(write, name, text)
    if as_json:
        show_json("agreement", {"run": str(folder), "rows": lines})
    else:
        tell(text)


def _file(solution: Path, truth: str, noise: str | None, as_json: bool) -> None:
    from sysgym.clustering.agreement import agreement, noise_of, read_labels
    from sysgym.clustering.catalogue import truth as classes_of
    from sysgym.core.errors import UsageError
    from sysgym_zoo.jobs.console import number, show_json, tell

    known: Any = None if Path(truth).is_file() else classes_of(truth)
    if known is None and not Path(truth).is_file():
        raise UsageError(f"{truth} is no file, and no registered instance whose classes are known; give either.")
    if known is not None and noise is not None:
        raise UsageError(f"the points of {truth} that are noise are known; leave --noise out.")
    classes = read_labels(truth, ("y", "labels", "classes")) if known is None else known
    left_out = 0 if known is not None else noise_of(noise, classes, truth)
    found = agreement(read_labels(solution), classes, left_out)
    if as_json:
        show_json("agreement", {"solution": str(solution), "truth": truth, **found})
        return
    tell(f"{solution} against {truth}")
    for key, value in found.items():
        tell(f"  {key:8} {number(value)}")
