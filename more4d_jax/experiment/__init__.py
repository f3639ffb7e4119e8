"""Configuration to a run: records, network, mesh, evaluators, result."""

from more4d_jax.experiment.modes import run

__all__ = ["run"]
