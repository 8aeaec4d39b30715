"""Source models that are no ONNX: OpenVINO reads them, and here they become the ONNX graph that all targets start from."""
