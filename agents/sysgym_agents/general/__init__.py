"""Agents for any problem."""
