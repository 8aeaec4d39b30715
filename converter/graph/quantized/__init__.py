"""How each operator of a quantized graph is read."""
