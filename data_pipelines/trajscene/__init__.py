"""TrajScene data sets: generation, packing, checks and inspection."""
