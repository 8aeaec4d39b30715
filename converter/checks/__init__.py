"""Lint: rules that go from an opened archive to findings.

Each module holds the rules for one part of an archive; `registry` knows them all. Their codes are
declared in `configs/codes.yaml`.
"""
