"""Pickled arrays and tensors, read without executing anything."""
