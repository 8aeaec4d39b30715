"""Automatic mixed precision: which few tensors of an 8-bit network need 16 bits."""
