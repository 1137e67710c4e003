"""Boards, submissions, verification, the append-only store, ranking and the static site."""
