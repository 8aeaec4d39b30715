"""Graph rules that only the MYRIAD compiler and its ONNX reader of opset 13 need."""
