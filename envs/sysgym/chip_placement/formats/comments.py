"""What comments say about the canvas, in the styles of Circuit Training and its translators.

Placement files and netlists share them: `# Columns : 24  Rows : 21`, `# Width : 100.0  Height : 50.0`,
`# FP bbox: {0.0 0.0} {100.0 50.0}`, `# Blockage : x0 y0 x1 y1 rate`, routes and smoothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from sysgym.core.errors import UsageError, announce

_NUMBER = r"([-+.\deE]+)"
_GAP = r"[\s,{}()]+"
_BOX = rf"FP bbox\s*:[\s{{(]*{_NUMBER}{_GAP}{_NUMBER}{_GAP}{_NUMBER}{_GAP}{_NUMBER}"
PATTERNS = {
    "grid": re.compile(r"(?<!Congestion )Columns\s*:\s*(\d+)[\s,]+Rows\s*:\s*(\d+)"),
    "size": re.compile(rf"Width\s*:\s*{_NUMBER}[\s,]+Height\s*:\s*{_NUMBER}"),
    "box": re.compile(_BOX, re.IGNORECASE),
    "routes": re.compile(rf"Routes per micron, hor\s*:\s*{_NUMBER}\s+ver\s*:\s*{_NUMBER}"),
    "macro_routes": re.compile(rf"Routes used by macros, hor\s*:\s*{_NUMBER}\s+ver\s*:\s*{_NUMBER}"),
    "smoothing": re.compile(rf"Smoothing factor\s*:\s*{_NUMBER}"),
    "congestion_grid": re.compile(r"Congestion Columns\s*:\s*(\d+)\s+Congestion Rows\s*:\s*(\d+)"),
    "blockage": re.compile(rf"Blockage\s*:\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}"),
}
HALF = re.compile(r"^\s*#\s*(FP bbox|Blockage)\s*:", re.IGNORECASE)  # how a line begins that must match
FORMS = {"fp bbox": "# FP bbox: {x0 y0} {x1 y1}", "blockage": "# Blockage : x0 y0 x1 y1 rate"}
_COMMENT = re.compile(r"^[ \t]*#[^\n]*", re.MULTILINE)


def telling(text: str) -> tuple[str, ...]:
    """The comments of a netlist, lines of their own, that say something about the canvas."""
    if "#" not in text:
        return ()
    lines = (found[0].strip() for found in _COMMENT.finditer(text))
    return tuple(line for line in lines if HALF.match(line) or any(p.search(line) for p in PATTERNS.values()))


def canvas_facts(lines: Iterable[tuple[str, str]], source: object) -> dict[str, Any]:
    """Fields of a Canvas that comments give, by name, from lines and their places ("line 7"); UsageError for odd ones.

    The last of several lines counts, as in Circuit Training, and is announced where they differ; blockages are all
    kept. A box must begin at (0, 0).
    """
    facts: dict[str, Any] = {}
    for place, line in lines:
        matches = [(key, match) for key, pattern in PATTERNS.items() if (match := pattern.search(line))]
        half = HALF.match(line)
        if half and not matches:
            raise UsageError(f"{source} {place}: expected '{FORMS[half[1].lower()]}', got {line[:60]!r}.")
        for key, match in matches:
            try:
                values = tuple(float(value) for value in match.groups())
            except ValueError:
                raise UsageError(f"{source} {place}: {line[:60]!r} holds a word for a number.") from None
            before = dict(facts)
            _note(facts, key, values, f"{source} {place}")
            if any(facts[field] != value for field, value in before.items() if field != "blockages"):
                announce(f"{source} {place}: {line[:60]!r} differs from a line above; this one counts.")
    return facts


def _note(facts: dict[str, Any], key: str, values: tuple[float, ...], where: str) -> None:
    """Put what one line says into the facts."""
    if key == "grid":
        facts["columns"], facts["rows"] = int(values[0]), int(values[1])
    elif key == "congestion_grid":
        facts[key] = (max(1, int(values[0])), max(1, int(values[1])))
    elif key == "size":
        facts["width"], facts["height"] = values
    elif key == "box":
        if values[:2] != (0.0, 0.0):
            raise UsageError(
                f"{where}: the floorplan begins at ({values[0]:g}, {values[1]:g}), expected (0, 0), where positions "
                "are counted from; shift them, or give the canvas by -O plc=FILE."
            )
        facts["width"], facts["height"] = values[2:]
    elif key == "smoothing":
        facts[key] = values[0]
    elif key == "blockage":
        facts["blockages"] = (*facts.get("blockages", ()), values)
    else:
        facts[key] = values
