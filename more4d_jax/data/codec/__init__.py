"""Arrays, depth, tracks and videos to bytes and back."""
