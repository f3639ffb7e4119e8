"""One loop, one step, one loss per task."""
