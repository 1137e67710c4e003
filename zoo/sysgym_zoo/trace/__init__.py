"""Bring your own model: a module of torch, or an ONNX file, becomes a graph for dataflow problems."""
