"""From a torch module or an ONNX file to a dataflow graph."""
