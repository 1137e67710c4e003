"""The errors a user can cause. Each carries one sentence: what came, what was expected, what to do."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LONGEST = 1000  # characters of a sentence that are shown


class SysgymError(Exception):
    """Base of every error that a user can cause; the command line prints its sentence and exits with `exit_code`."""

    exit_code = 1

    def __str__(self) -> str:
        """The sentence as a terminal may show it, whatever a file or a name put into it."""
        return shortened(printable(super().__str__(), keep=""))


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


class Notice(UserWarning):
    """What a user should know about an input that was read as it is meant: the command line shows it as a line."""


def announce(text: str) -> None:
    """Tell the user what a reader left out, renumbered or guessed; each sentence once in a process."""
    warnings.warn(shortened(printable(text, keep="")), Notice, stacklevel=3)


def printable(text: str, keep: str = "\n\t") -> str:
    """A text whose control characters, marks of direction and lone surrogates are escaped, but for those to keep.

    >>> printable("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text of at most `longest` characters, its middle left out; its beginning and its end tell most."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


@contextmanager
def reading(source: object, kind: type[SysgymError] = UsageError) -> Iterator[None]:
    """The boundary of every reader: whatever fails within becomes one sentence of a `kind` that names the source.

    A sentence of that kind stays as it is.
    """
    try:
        yield
    except (MissingDependency, Notice):
        raise
    except SysgymError as error:
        if isinstance(error, kind):
            raise
        raise kind(f"{source}: {error}") from error
    except OSError as error:
        raise kind(f"{source} cannot be read: {error.strerror or error}.") from error
    except (MemoryError, RecursionError) as error:
        what = "more memory than there is" if isinstance(error, MemoryError) else "deeper nesting than is read"
        raise kind(f"{source} asks for {what}; give a smaller file.") from error
    except Exception as error:
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise kind(f"{source} is damaged or not of its format ({shortened(why, 200)}).") from error


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
