"""Places where scenes of version 3 happen."""
