"""Agents of accelerator design."""
