"""Reading and editing ONNX graphs: small passes, each of which keeps what the model computes."""
