"""Contracts, registry, environment shells, observations, instances and data: everything all problems share."""
