"""One file per question: its baseline plus a few changed fields."""
