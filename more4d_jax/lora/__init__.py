"""LoRA files that people have, read, checked against a network and written."""
