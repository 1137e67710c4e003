"""Agents for device placement and graph optimisation."""
