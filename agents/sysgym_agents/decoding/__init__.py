"""Agents that write text with a frozen network."""
