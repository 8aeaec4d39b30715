"""Test doubles of tools that could not be had: they prove agreement with documentation, nothing else."""
