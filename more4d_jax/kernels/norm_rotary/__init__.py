"""RMS norm, rotation and head layout of queries or keys, in one pass."""
