"""Agents for graph partitioning."""
