"""YOLO exports: finding the detection head in a graph, cutting in front of its decoding."""
