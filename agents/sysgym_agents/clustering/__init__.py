"""Agents of clustering."""
