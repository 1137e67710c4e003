"""How errors become one sentence and an exit code."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import typer


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors that a user can cause into one sentence on stderr and the documented exit code."""

    @functools.wraps(function)
    def run(*args: Any, **keywords: Any) -> Any:
        try:
            with notices_as_lines():
                return function(*args, **keywords)
        except KeyboardInterrupt:
            print("sysgym: interrupted.", file=sys.stderr)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            raise typer.Exit(explain(error)) from None

    return run


def help_text(function: Callable[..., Any]) -> str:
    """A docstring as help that keeps its brackets, which rich takes for its own markup."""
    return (inspect.getdoc(function) or "").replace("[", r"\[")


@contextlib.contextmanager
def notices_as_lines() -> Iterator[None]:
    """What readers announce is a line on stderr each, once; other warnings stay as they are."""
    from sysgym.core.errors import Notice
    from sysgym_zoo.jobs.console import say

    said: set[str] = set()
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, Notice):
            usual(message, category, *place, **more)
        elif str(message) not in said:
            said.add(str(message))
            say(f"note: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        warnings.showwarning = show
        yield


def explain(error: Exception) -> int:
    """Print one sentence about an error and return its exit code; SYSGYM_DEBUG=1 shows the traceback as well."""
    from sysgym.core.errors import SysgymError
    from sysgym_zoo.jobs.console import say, was_interrupted

    if os.environ.get("SYSGYM_DEBUG"):
        traceback.print_exc()
    if isinstance(error, SysgymError):
        say(f"sysgym: {error}")
        return error.exit_code
    if was_interrupted(error):
        say("sysgym: interrupted.")
        return 130
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for it
        say("sysgym: the GPU has not enough memory for this; use --device cpu, or smaller batches or networks.")
        return 1
    if isinstance(error, OSError):
        say(f"sysgym: {error.filename or 'the output'}: {error.strerror or error}.")
    else:
        line = (str(error).splitlines() or [""])[0]
        hint = "this is a defect of sysgym or of a plugin, SYSGYM_DEBUG=1 shows where"
        say(f"sysgym: unexpected {type(error).__name__}: {line}; {hint}.")
    return 1
