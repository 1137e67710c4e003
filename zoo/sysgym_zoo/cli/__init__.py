"""The `sysgym` command. Every command imports what it needs when it runs, so that `--help` stays instant."""

from sysgym_zoo.cli import jobs, lists, submissions
from sysgym_zoo.cli.app import app

__all__ = ["app", "jobs", "lists", "main", "submissions"]


def main() -> None:
    """Entry point of the console command."""
    app()
