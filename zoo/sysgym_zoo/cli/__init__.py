"""The `sysgym` command. Every command imports what it needs when it runs, so that `--help` stays instant."""

from sysgym_zoo.cli import chips, complete, jobs, lists, submissions
from sysgym_zoo.cli.app import app

__all__ = ["app", "chips", "complete", "jobs", "lists", "main", "submissions"]


def main() -> None:
    """Entry point of the console command."""
    complete.prepare_bash()
    app(prog_name="sysgym")
