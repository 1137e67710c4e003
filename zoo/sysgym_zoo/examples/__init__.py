"""Whole jobs, start to end: `demo` is `sysgym demo`, `own_sb3` a Stable-Baselines3 script of your own."""
