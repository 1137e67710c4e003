"""Stable-Baselines3 and sb3-contrib algorithms with one graph policy."""
