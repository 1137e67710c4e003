"""Boards as JSON, CSV and static pages."""
