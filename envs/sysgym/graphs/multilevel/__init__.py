"""Multilevel partitioning of graphs: clusters on the way down, bisection at the bottom, searches on the way up."""
