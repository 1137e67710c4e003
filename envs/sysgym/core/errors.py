"""The errors a user can cause. Each carries one sentence: what came, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SysgymError(Exception):
    """Base of every error that a user can cause; the command line prints its sentence and exits with `exit_code`."""

    exit_code = 1


class UsageError(SysgymError, ValueError):
    """A name, option, file or value that cannot be used as given."""

    exit_code = 2


class UnknownOption(UsageError, TypeError):
    """A keyword that nobody takes; also a TypeError, as Python and wrappers of Gymnasium expect."""


class InvalidSolution(SysgymError, ValueError):
    """A solution that cannot be read, or a submission that does not verify."""

    exit_code = 3


class MissingDependency(SysgymError, ImportError):
    """An optional package is absent; the sentence names the extra that installs it."""

    exit_code = 4


def unknown(kind: str, name: object, known: Iterable[str]) -> UsageError:
    """A UsageError for a name that does not exist, with the nearest known names.

    >>> str(unknown("problem", "Partitoin", ["Partitioning", "Clustering"]))
    "unknown problem 'Partitoin'. Did you mean 'Partitioning'? Known: Clustering, Partitioning."
    """
    return UsageError(_suggest(kind, name, known))


def unknown_option(what: str, name: object, known: Iterable[str]) -> UnknownOption:
    """An UnknownOption for a keyword of a problem or agent, with the nearest known ones."""
    return UnknownOption(_suggest(f"option of {what}", name, known))


def _suggest(kind: str, name: object, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"unknown {kind} {str(name)!r}.{hint} Known: {shown or 'none'}."
