"""One file per run; `get_config()` returns a ConfigDict."""
