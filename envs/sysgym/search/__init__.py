"""One mode machine over a table of choices, for problems whose answer is a value for each of some parameters."""
