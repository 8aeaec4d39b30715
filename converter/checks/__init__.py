"""What lint looks at: rules that go from an opened archive to findings.

Each module holds the rules for one part of an archive; `registry` knows them all. What their codes
stand for is declared in `configs/codes.yaml`.
"""
