"""Multilevel partitioning of graphs and hypergraphs: kernels, searches, their population, learnt priorities."""
