"""The meter: CPU seconds of every test, compilation not counted; an unmarked test that takes too long fails."""

from __future__ import annotations

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numba.core.event import Listener, register

LIMIT = 5.0  # CPU seconds of a test without one of the marks below, on a core that nothing disturbs
LISTED = 8  # tests that the summary names
MARKS = ("slow", "full", "foreign")  # importing a foreign library alone may take seconds
GRACE = 1.5  # how much a test may exceed the limit before it fails: neighbours of a core come and go within a test
USUAL = 0.027  # CPU seconds of `chore` on such a core


def chore() -> float:
    """CPU seconds of a fixed piece of work: a busy machine takes more of them for everything."""
    started = time.process_time()
    total = sum(i * i % 7 for i in range(250_000))
    values = np.random.default_rng(0).random(250_000)
    assert total and np.sort(values)[0] >= 0
    return time.process_time() - started


def slowness() -> float:
    """How many times more CPU seconds the machine takes just now, at least 1."""
    return max(1.0, sorted(chore() for _ in range(5))[2] / USUAL)


class Compiling(Listener):  # type: ignore[misc]
    """CPU seconds that numba has spent on compiling in this process."""

    def __init__(self) -> None:
        self.seconds, self.depth, self.started = 0.0, 0, 0.0
        register("numba:compile", self)

    def on_start(self, event: Any) -> None:
        if not self.depth:  # a kernel that calls another one compiles that within its own compilation
            self.started = time.process_time()
        self.depth += 1

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if not self.depth:
            self.seconds += time.process_time() - self.started


class Meter:
    """A pytest plugin: what a test costs stands in its report, and the sum of each folder at the end."""

    def __init__(self) -> None:
        self.compiling = Compiling()
        self.servers: list[Any] = []  # warm processes, whose commands are counted to the test that waits for them
        self.of_test: dict[str, float] = {}
        self.of_folder: dict[str, list[float]] = defaultdict(list)
        self.longest: list[tuple[float, str]] = []

    def seconds(self) -> float:
        """CPU seconds of this process, of its children that have ended, and of forked commands that have."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        forked = sum(server.cpu_seconds for server in self.servers)
        return sum(part.ru_utime + part.ru_stime for part in used) + forked - self.compiling.seconds

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        if "torch" in sys.modules:
            import_module("torch._dynamo")  # the first optimiser of a process does: more than a second
        before = self.seconds()
        try:
            return (yield)
        finally:
            self.of_test[item.nodeid] = self.seconds() - before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        report = yield
        if call.when == "call":
            report.cpu_seconds = self.of_test.pop(item.nodeid, 0.0)
            marked = any(item.get_closest_marker(name) for name in MARKS)
            if report.passed and not marked and self.too_long(report.cpu_seconds):
                report.outcome = "failed"
                report.longrepr = (
                    f"{report.cpu_seconds:.1f} CPU seconds, compilation not counted: more than {LIMIT:g}. "
                    "Shrink the test, or mark it slow."
                )
        return report

    @staticmethod
    def too_long(seconds: float) -> bool:
        """Whether a test is above the limit for certain, however busy the machine."""
        return seconds > GRACE * LIMIT and seconds > GRACE * LIMIT * slowness()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            seconds = getattr(report, "cpu_seconds", 0.0)
            self.of_folder[folder_of(report.nodeid)].append(seconds)
            self.longest = sorted([*self.longest, (seconds, report.nodeid)], reverse=True)[:LISTED]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """CPU seconds a folder; those of fixtures, imports and compilation come on top."""
        terminalreporter.section("CPU seconds of the tests, compilation not counted")
        for folder, seconds in sorted(self.of_folder.items(), key=lambda row: -sum(row[1])):
            terminalreporter.write_line(f"{sum(seconds):8.1f}  {folder} ({len(seconds)} tests)")
        for cost, name in self.longest:
            terminalreporter.write_line(f"{cost:8.1f}  {name}")


def folder_of(nodeid: str) -> str:
    """`tests/cli` of `tests/cli/test_runs.py::test_demo`."""
    return nodeid.partition("::")[0].rpartition("/")[0]
