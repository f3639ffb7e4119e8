"""Camera paths in files: ours and those of other programs, read and written."""
