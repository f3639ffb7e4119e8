"""Analytic moving scenes: exact tracks, depth, visibility, views, captions."""
