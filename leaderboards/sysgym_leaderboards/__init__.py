"""Boards, submissions, verification, the append-only store, ranking and the static site.

Nothing is ranked that was not judged again: `Store.submit` verifies in a separate process with limits.
"""

from sysgym_leaderboards.boards import Board, board_names, load_board
from sysgym_leaderboards.certificates import Certificate, Row
from sysgym_leaderboards.export import export
from sysgym_leaderboards.ranking import Standing, geometric_mean, performance_profile, rank
from sysgym_leaderboards.store import Entry, Store
from sysgym_leaderboards.submissions import Answer, Submission, pack, read_submission
from sysgym_leaderboards.verify import Limits, verify

__all__ = [
    "Answer",
    "Board",
    "Certificate",
    "Entry",
    "Limits",
    "Row",
    "Standing",
    "Store",
    "Submission",
    "board_names",
    "export",
    "geometric_mean",
    "load_board",
    "pack",
    "performance_profile",
    "rank",
    "read_submission",
    "verify",
]
