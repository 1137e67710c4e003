"""The `sysgym` command. Every command imports what it needs when it runs, so that `--help` stays instant."""

import signal

from sysgym_zoo.cli import complete, lists, submissions
from sysgym_zoo.cli import work as jobs
from sysgym_zoo.cli.app import app
from sysgym_zoo.tools import group as chips
from sysgym_zoo.tools import trace as graphs

__all__ = ["app", "chips", "complete", "graphs", "jobs", "lists", "main", "submissions"]


def main() -> None:
    """Entry point of the console command."""
    complete.prepare_bash()
    try:
        app(prog_name="sysgym")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second ^C while it ends must not change the exit code
