"""Stable-Baselines3 and sb3-contrib on graph observations."""
