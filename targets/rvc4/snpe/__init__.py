"""RVC4 with Qualcomm's SNPE, whose tools run in a container: the toolchain that production uses.

This code was not run with Qualcomm's SDK: the tests use doubles of its tools that refuse what the
documentation does not list, and compute with ONNX Runtime.
"""
