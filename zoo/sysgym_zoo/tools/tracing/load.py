"""From `module:function` to the model that the function builds."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

from sysgym.core.errors import UsageError, unknown
from sysgym.core.options import option_table


def find_builder(target: str) -> Callable[..., Any]:
    """The function that `module:function` names; UsageError if there is none."""
    name, colon, function = target.partition(":")
    if not (colon and name and function):
        raise UsageError(
            f"expected module:function, such as sysgym_zoo.models.rnn:rnnlm, or a file .onnx, got {target!r}."
        )
    module = _import(name.removesuffix(".py"))
    found = getattr(module, function, None)
    if found is None:
        raise unknown(f"function of {name}", function, _public(module))
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}; expected a function that returns (module, inputs).")
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{target} does not say its arguments; expected a Python function of a model.") from error
    return found  # type: ignore[no-any-return]


def _public(module: Any) -> list[str]:
    """Functions that a module exports, or that it defines."""
    found = {key: value for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"}
    exported = getattr(module, "__all__", None)
    return [key for key, value in found.items() if (value.__module__ == module.__name__ if exported is None else
                                                    key in exported)]  # fmt: skip


@contextmanager
def current_folder() -> Iterator[None]:
    """While it is open, modules of the current folder can be imported before any other."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


@contextmanager
def apart() -> Iterator[None]:
    """While it is open, whatever code of the user prints goes to stderr, by whichever way; stdout is for results."""
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
        kept, other = os.dup(number), sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):  # no file, as within a notebook or a test
        kept = number = other = -1
    if kept >= 0:
        os.dup2(other, number)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept >= 0:
            sys.stdout.flush()
            os.dup2(kept, number)
            os.close(kept)


def _import(name: str) -> Any:
    """A module by its name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {name!r}, neither in the current folder nor installed; name one that holds the "
                "function."
            ) from error
        raise UsageError(f"module {name!r} needs {error.name}, which is not installed.") from error
    except Exception as error:  # the module is the user's and may raise anything
        raise UsageError(f"module {name!r} cannot be imported: {first_line(error)}.") from error


def parse_arguments(function: Callable[..., Any], pairs: Sequence[str], what: str) -> dict[str, Any]:
    """`key=value` words as keywords of a function, of the types it declares or its defaults have."""
    known = option_table(function)
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"expected key=value, got {pair!r}.")
        if key not in known:
            raise unknown(f"argument of {what}", key, known)
        found[key] = known[key].parse(text, what)
    missing = [key for key, each in known.items() if each.default is inspect.Parameter.empty and key not in found]
    if missing:
        raise UsageError(f"{what} needs a value for {missing[0]}; give it with --arg {missing[0]}=VALUE.")
    return found


def build_model(target: str, pairs: Sequence[str] = ()) -> tuple[Any, Any, dict[str, Any]]:
    """The module, its example inputs, and the arguments that `module:function` was called with."""
    function = find_builder(target)
    arguments = parse_arguments(function, pairs, target)
    from sysgym_zoo.tools.tracing.devices import Sites

    try:
        with Sites():  # a model that its author split is built without his devices
            found = function(**arguments)
    except UsageError:
        raise
    except Exception as error:  # the function is the user's and may raise anything
        raise UsageError(f"{target} failed: {first_line(error)}.") from error
    if not isinstance(found, tuple) or len(found) != 2:
        got = f"{len(found)} values" if isinstance(found, tuple) else f"a {type(found).__name__}"
        raise UsageError(f"{target} must return (module, example inputs), it returned {got}.")
    module, inputs = found
    return module, inputs, arguments


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says, without a full stop."""
    line = (str(error).strip().splitlines() or [""])[0].strip().rstrip(".")
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
