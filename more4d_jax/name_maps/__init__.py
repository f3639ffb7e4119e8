"""Published tensor names and our parameter paths, one table per model."""
