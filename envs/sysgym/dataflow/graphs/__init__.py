"""Dataflow graphs, the devices that run them, files, generators, fusion and groups."""
