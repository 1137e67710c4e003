"""`sysgym labels`: how far the labels of a clustering agree with true classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysgym_zoo.cli.app import AsJson


def labels(
    solution: Annotated[Path, typer.Argument(help="Labels: .json, .npz, .npy, or one a line.")],
    truth: Annotated[str, typer.Argument(help="True classes: a file like it, or the name of a registered instance.")],
    noise: Annotated[str | None, typer.Option(help="Class of points that do not count, in a file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare labels with true classes: ACC, NMI and ARI. No agent and no reward ever sees these."""
    from sysgym.clustering.agreement import agreement, noise_of, read_labels
    from sysgym.clustering.catalogue import truth as classes_of
    from sysgym.core.errors import UsageError
    from sysgym_zoo.jobs.console import number, show_json, tell

    known = None if Path(truth).is_file() else classes_of(truth)
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
    for name, value in found.items():
        tell(f"  {name:8} {number(value)}")
