"""Graph optimisation: placement, schedule and fusion of a dataflow graph, decided together."""
