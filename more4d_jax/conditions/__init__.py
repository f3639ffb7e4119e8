"""What networks train on, made of records by frozen networks and renderers."""
