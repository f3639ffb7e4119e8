"""Encoders of the conditions: text, picture, motion cues, depth."""
