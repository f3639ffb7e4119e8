"""The checkpoint that ships with the package: where it is and what it is."""
