"""Source models that are no ONNX: OpenVINO reads them, and here they become ONNX graphs."""
