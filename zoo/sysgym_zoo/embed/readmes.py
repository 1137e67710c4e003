"""Maintainers' command that writes the reference part of every problem's page: `python -m sysgym_zoo.embed readmes`."""

from __future__ import annotations

from sysgym_zoo.jobs.report import update
from sysgym_zoo.lookup.reference import pages, reference

MARKER = "reference"


def main() -> None:
    """Put each reference between the markers of its page."""
    for name, page in pages().items():
        update(page, MARKER, reference(name))
        print(page)


if __name__ == "__main__":
    main()
