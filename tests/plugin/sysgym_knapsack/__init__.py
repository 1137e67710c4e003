"""A third-party package for sysgym: everything a problem, an agent and a board need, and nothing else."""
