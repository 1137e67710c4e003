"""What an ONNX file means: its sizes, and the flops of its operators."""
