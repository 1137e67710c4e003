"""Agents for chip macro placement."""
