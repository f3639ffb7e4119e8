"""Metrics against ground truth, pure functions of NumPy arrays."""
