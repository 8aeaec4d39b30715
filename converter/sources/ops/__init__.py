"""OpenVINO operators written as ONNX, one file for each kind of operator."""
