"""The `sysgym` command. Every command imports what it needs when it runs, so that `--help` stays instant."""

import signal

from sysgym_zoo.cli import complete, lists, submissions, sweeping, training, tuning, work
from sysgym_zoo.cli.app import app

__all__ = ["app", "complete", "lists", "main", "submissions", "sweeping", "training", "tuning", "work"]


def main() -> None:
    """Entry point of the console command."""
    complete.prepare_bash()
    try:
        app(prog_name="sysgym")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second ^C while it ends must not change the exit code
