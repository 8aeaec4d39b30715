"""Rewrites around what the QNN tools refuse or compute wrongly, a file for each family of operators.

Each was seen on QAIRT 2.51 (`onnxruntime-qnn` 2.7.0). In `tests/convert/test_rvc4_convert.py` those in
FAULTS have a test that fails without the rewrite, those in CARE one that the operator is right.
"""
