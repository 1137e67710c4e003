"""Device placement: which device runs each operator of a dataflow graph."""
