"""TrajScene data sets: made in parallel, packed, checked and looked at."""
