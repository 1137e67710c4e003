"""What reaches the terminal: results on stdout as text or JSON, progress and logs on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from sysgym.core.errors import printable


def say(text: str) -> None:
    """A line of progress, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error is, or was caused by, a Ctrl-C; numba wraps one that arrives inside a kernel."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def clean(value: Any) -> Any:
    """Plain data for JSON: numpy scalars unwrapped, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def show_json(kind: str, value: dict[str, Any]) -> None:
    """A result as one JSON object on stdout; `schema` names its kind, unless the value has a schema of its own."""
    print(json.dumps(clean({"schema": f"sysgym-{kind}/1", **value}), indent=1))


def number(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if 1e3 <= abs(value) < 1e12 or value == int(value) else f"{value:.4g}"
    return printable(str(value), keep="")


def tell(text: object) -> None:
    """Text on stdout, as a terminal may show it whatever files and records put into it."""
    print(printable(str(text)))


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as aligned text; numbers to the right."""
    if not rows:
        return "(none)"
    names = list(columns or rows[0])
    cells = [[number(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    right = [all(isinstance(row.get(name), int | float) or row.get(name) is None for row in rows) for name in names]

    def line(words: Sequence[str]) -> str:
        aligned = (w.rjust(n) if r else w.ljust(n) for w, n, r in zip(words, widths, right, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(names), line(["-" * n for n in widths]), *(line(row) for row in cells)])


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(number(row[name]) for name in names) + " |" for row in rows)])


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere, and one at the end if `last`; all on stderr."""

    def __init__(self, what: str, total: float, unit: str, last: bool = False) -> None:
        self.what, self.total, self.unit, self.shown = what, total, unit, time.monotonic()
        self.last, self.line = last, ""
        self.bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=round(total, 1), desc=what, unit=unit, leave=False)

    def update(self, done: float, note: str = "") -> None:
        """`done` of `total` is reached."""
        if self.bar is not None:
            self.bar.n = min(round(done, 1), self.bar.total)
            self.bar.set_postfix_str(note)
            self.bar.refresh()
            return
        self.line = f"{self.what}: {done:.0f} of {self.total:.0f} {self.unit}. {note}"
        if time.monotonic() - self.shown >= 10:
            self.shown = time.monotonic()
            say(self.line)
            self.line = ""

    def close(self) -> None:
        """Remove the bar, or show the last line."""
        if self.bar is not None:
            self.bar.close()
        elif self.last and self.line:
            say(self.line)
