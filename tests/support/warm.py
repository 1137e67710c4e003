"""Commands forked from one warm process: it has imported everything, so that a command costs only what it does.

The server (this file, run as a program) reads one JSON request a line and answers one a line. The client is `Warm`.
A command has its own folder, environment, output files and signals; what it cannot have is another PYTHONPATH or
another interpreter: for these a test starts a server of its own, or a real process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

NEVER_FORKED = ("PYTHONPATH", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "NUMBA_DISABLE_JIT")  # read when Python starts


# ------------------------------------------------------------------------------------------------ the tests' side


class Command:
    """A running command; like `subprocess.Popen`, as far as tests need it."""

    def __init__(self, warm: Warm, pid: int, files: dict[str, Path]) -> None:
        self.warm, self.pid, self.files = warm, pid, files
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code (-N after signal N) if the command has ended."""
        if self.returncode is None:
            found = self.warm.ask({"wait": self.pid})
            if "code" in found:
                self.returncode = found["code"]
                self.warm.cpu_seconds += found["seconds"] - _number(self.files["compiling"])
        return self.returncode

    def wait(self, timeout: float = 600.0) -> int:
        until, pause = time.monotonic() + timeout, 0.002
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("sysgym", timeout)
            time.sleep(pause)
            pause = min(1.5 * pause, 0.05)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float = 600.0) -> tuple[str, str]:
        """Standard output and standard error, at the end."""
        self.wait(timeout)
        return self.files["stdout"].read_text(), self.files["stderr"].read_text()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _number(path: Path) -> float:
    """Seconds spent compiling; a killed command did not write them."""
    text = path.read_text() if path.is_file() else ""
    return float(text or 0)


class Warm:
    """One warm process and the commands that are forked from it."""

    def __init__(self, folder: Path, python: str = sys.executable, options: tuple[str, ...] = (), **environment: str):
        self.folder, self.number, self.lock = folder, 0, threading.Lock()
        self.cpu_seconds = 0.0  # of all commands that have ended, compilation not counted
        self.process = subprocess.Popen(
            [python, *options, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment}, cwd=folder,
        )  # fmt: skip

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer."""
        with self.lock:
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        assert line, "the warm process has ended"
        return json.loads(line)

    def start(
        self, words: list[str], folder: Path, environment: dict[str, str], terminal: str | None = None
    ) -> Command:
        """Start a command in a folder; its standard input is empty, its output goes to files, or to a terminal."""
        changed = [name for name in NEVER_FORKED if environment.get(name) != os.environ.get(name)]
        assert not changed, f"{changed} cannot be set for a forked command"
        with self.lock:
            self.number += 1
            stem = self.folder / str(self.number)
        files = {name: Path(f"{stem}.{name}") for name in ("stdout", "stderr", "compiling")}
        if terminal:
            files["stdout"] = files["stderr"] = Path(terminal)
        request = {"words": words, "folder": str(folder), "environment": environment}
        return Command(self, self.ask({**request, **{name: str(path) for name, path in files.items()}})["pid"], files)

    def run(self, words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """A command from its start to its end."""
        command = self.start(words, folder, environment)
        stdout, stderr = command.communicate()
        return subprocess.CompletedProcess(words, command.wait(), stdout, stderr)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


# ------------------------------------------------------------------------------------------------ the warm process


def import_everything() -> None:
    """All modules of the suite, torch, Stable-Baselines3 and numba with them, and what these import late.

    Of the examples only the command: the others are scripts, some of libraries that may not be here.
    """
    import importlib
    import pkgutil

    import numba

    importlib.import_module("torch._dynamo")  # the first optimiser would: more than a second
    numba.njit(lambda x: x + 1)(1)  # as long as the first kernel takes to come from its file
    for package in ("sysgym", "sysgym_agents", "sysgym_leaderboards", "sysgym_zoo"):
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            script = ".embed." in found.name or (".examples." in found.name and not found.name.endswith(".demo"))
            if not script and not found.name.endswith(("__main__", "verify_worker")):
                importlib.import_module(found.name)


def build_commands() -> None:
    """The tree of our commands, which typer builds anew in each process: longer than most of them take."""
    import functools

    import typer.main

    from sysgym_zoo.cli import app

    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(app)


def run_command(request: dict[str, Any], compiling: Any) -> int:
    """In the child: become the command `sysgym ...` as a fresh process would; its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, target)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - for as long as it lives
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # asked for again: TMPDIR may differ
    time.tzset()
    sys.argv = ["sysgym", *request["words"]]
    code = 1
    try:
        from sysgym_zoo.cli import main

        main()
        code = 0
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        import traceback

        traceback.print_exc()
    return code


def leave(code: int, path: str, seconds: float) -> None:
    """What Python does at its end, and then the end."""
    import atexit

    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        Path(path).write_text(str(seconds))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def serve() -> None:
    """Answer requests until the other end is closed."""
    import gc

    sys.path.insert(0, str(Path(__file__).parent))
    from meter import Compiling

    import_everything()
    build_commands()
    compiling = Compiling()
    gc.collect()
    gc.freeze()  # children share these pages
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status, usage = os.wait4(request["wait"], os.WNOHANG)
            code = os.waitstatus_to_exitcode(status) if pid else None
            answer = {"code": code, "seconds": usage.ru_utime + usage.ru_stime} if pid else {}
        else:
            pid = os.fork()
            if not pid:
                leave(run_command(request, compiling), request["compiling"], compiling.seconds)
            answer = {"pid": pid}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
