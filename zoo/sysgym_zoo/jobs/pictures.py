"""Pictures, animations and traces as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from sysgym import UsageError
from sysgym.core.problem import Array

LENGTH, LAST = 8000, 2000  # milliseconds of an animation, and of its last frame


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
