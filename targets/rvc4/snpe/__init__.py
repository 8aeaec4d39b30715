"""RVC4 with Qualcomm's SNPE, whose tools run in a container: the path that production uses.

Nothing in here was run with an SDK of Qualcomm's: the tests' tools are doubles that refuse what the
documentation does not list, and compute with ONNX Runtime.
"""
