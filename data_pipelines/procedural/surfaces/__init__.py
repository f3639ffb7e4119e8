"""Surfaces with the statistics of photographs, and their colours."""
