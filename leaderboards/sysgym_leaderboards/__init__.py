"""Boards, submissions, verification, the append-only store, ranking and the static site.

Nothing is ranked that was not judged again: `Store.submit` verifies in a separate process with limits.
"""

from sysgym_leaderboards.board import Board, board_names, load_board
from sysgym_leaderboards.certificates import Certificate, Row
from sysgym_leaderboards.events import Entry
from sysgym_leaderboards.publish.export import export
from sysgym_leaderboards.publish.tables import Audit, audit, read_published, read_results
from sysgym_leaderboards.ranking import Standing, profiles, rank, win_matrix
from sysgym_leaderboards.statistics import geometric_mean, performance_profile
from sysgym_leaderboards.store import Store
from sysgym_leaderboards.submissions import Answer, Submission, pack, read_submission
from sysgym_leaderboards.verify import Limits, verify

__all__ = [
    "Answer",
    "Audit",
    "Board",
    "Certificate",
    "Entry",
    "Limits",
    "Row",
    "Standing",
    "Store",
    "Submission",
    "audit",
    "board_names",
    "export",
    "geometric_mean",
    "load_board",
    "pack",
    "performance_profile",
    "profiles",
    "rank",
    "read_published",
    "read_results",
    "read_submission",
    "verify",
    "win_matrix",
]
