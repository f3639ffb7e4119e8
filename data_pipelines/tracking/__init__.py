"""Dense point tracks of films that have none."""
