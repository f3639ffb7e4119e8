"""Samplers: noise and conditions to trajectories and completed videos."""
