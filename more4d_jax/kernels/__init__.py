"""Numerical kernels; imports jax and nothing of ours."""
