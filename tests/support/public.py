"""The folders of public data below SYSGYM_DATA, and marks that skip a test where one is not here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PUBLIC = Path(os.environ.get("SYSGYM_DATA") or "none")
CHIP, DATAFLOW, PARTITIONING, ECOSYSTEM = (
    PUBLIC / topic for topic in ("chip", "dataflow", "partitioning", "ecosystem")
)
CT, IBM01 = CHIP / "ct", CHIP / "bookshelf" / "ibm01.nodes.gz"


def needs(path: Path) -> pytest.MarkDecorator:
    """Skip where a file or folder of the public data is not here."""
    return pytest.mark.skipif(not path.exists(), reason=f"{path.name} is not here; set SYSGYM_DATA")


needs_chip, needs_dataflow, needs_ecosystem = needs(CHIP), needs(DATAFLOW), needs(ECOSYSTEM)
