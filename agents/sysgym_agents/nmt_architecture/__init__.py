"""Searches of configurations by noisy evaluations."""
