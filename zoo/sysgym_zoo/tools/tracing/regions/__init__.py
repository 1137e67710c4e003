"""From a torch module or an ONNX file to the regions of an accelerator's workload."""
