"""What moves in a scene: one module for each family of subjects."""
