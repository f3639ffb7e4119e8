"""Cameras, motion normalisation, depth preparation and camera paths."""
