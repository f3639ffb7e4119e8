"""Measurements, and what they share with the tests."""
