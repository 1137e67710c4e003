"""The process that judges a submission as a fork of this one: as `subprocess.Popen` in `sysgym_leaderboards.verify`.

It reads the same request, has the same limits and dies in the same ways; what it does not show is a fresh import.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
import warnings
from typing import IO, NoReturn


class ForkedJudge:
    """The part of `subprocess.Popen` that `verify` uses."""

    def __init__(
        self, command: list[str], *, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes],
        start_new_session: bool, env: dict[str, str],
    ) -> None:  # fmt: skip
        assert command[-1] == "sysgym_leaderboards.verify_worker" and start_new_session
        self.returncode: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking beside threads: those of xdist hold nothing that a judge needs
            self.pid = os.fork()
        if not self.pid:
            _judge([stdin.fileno(), stdout.fileno(), stderr.fileno()], env)

    def wait(self, timeout: float = 600.0) -> int:
        until = time.monotonic() + timeout
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                raise subprocess.TimeoutExpired("judge", timeout)
            else:
                time.sleep(0.002)
        return self.returncode


def _judge(files: list[int], env: dict[str, str]) -> NoReturn:
    """In the child: judge, and end."""
    code = 1
    try:
        os.setsid()
        for target, source in enumerate(files):
            os.dup2(source, target)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - until it ends
        os.environ.clear()
        os.environ.update(env)
        from sysgym_leaderboards import verify_worker

        verify_worker.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class ForkedModule:
    """Stands where `verify` looks for `subprocess`."""

    Popen = ForkedJudge
    TimeoutExpired = subprocess.TimeoutExpired
