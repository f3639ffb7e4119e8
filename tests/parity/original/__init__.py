"""What the original computes where ours differs, for comparing numbers."""
