"""Tensor mathematics of plugins."""
