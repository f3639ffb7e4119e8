"""Point clouds to pictures: colour, depth and coverage."""
