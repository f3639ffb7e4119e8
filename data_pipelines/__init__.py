"""Offline building of records; may import the library, never the reverse."""
