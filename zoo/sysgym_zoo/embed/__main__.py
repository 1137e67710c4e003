"""`python -m sysgym_zoo.embed NAME` writes packaged data anew: each module here with `main()` is one NAME.

Where one keeps what it has so far in a file, that may be named: NAME=FILE.
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import signature
from pkgutil import iter_modules

import sysgym_zoo.embed
from sysgym.core.errors import SysgymError, UsageError, unknown


def names() -> list[str]:
    """What can be embedded."""
    return sorted(item.name for item in iter_modules(sysgym_zoo.embed.__path__) if item.name != "__main__")


def main(words: list[str]) -> int:
    """Run the modules that are named; the exit code."""
    if not words:
        print(f"usage: python -m sysgym_zoo.embed NAME...; there are {', '.join(names())}.", file=sys.stderr)
        return 2
    try:
        for word in words:
            name, given, place = word.partition("=")
            if name not in names():
                raise unknown("embedding", name, names())
            run = import_module(f"sysgym_zoo.embed.{name}").main
            if given and not signature(run).parameters:
                raise UsageError(f"{name} keeps no file of what it has so far; leave {given}{place} out.")
            run(*([place] if given else []))
    except SysgymError as error:
        print(f"embed: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
