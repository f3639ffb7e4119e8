"""Our modules against stored arrays of the original: python -m tests.parity."""
