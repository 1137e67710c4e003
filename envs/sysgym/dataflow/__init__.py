"""Dataflow graphs of operators, the machines that run them, and an exact simulator of both."""
