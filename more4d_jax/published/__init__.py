"""Published weights to our networks and back."""
