"""Films handed to programs that judge them without a truth."""
