"""Configuration to a run: records, network, mesh, evaluators, result."""
