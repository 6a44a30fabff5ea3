"""Speed, honestly: packed models and single kernels against ONNX Runtime and against this machine's own peak."""
