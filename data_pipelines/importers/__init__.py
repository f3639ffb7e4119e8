"""Other people's tracks to our records; `kinds` lists what can be read."""
