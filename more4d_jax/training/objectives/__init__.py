"""One objective per task: parameters to start from, and a loss."""
