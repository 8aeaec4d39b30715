"""Operators that a compiler does not know, written with those it does: a file for each family.

A rule is a function from a node to the values that replace its outputs; None leaves the node as it is.
It holds for every target; which rules a target applies is the target's choice. Formulas: the ONNX
operator specification (https://onnx.ai/onnx/operators). Every rule is compared with ONNX Runtime on the
original by the property tests.
"""
