"""Records, array caches and loaders; numpy only, no device is touched."""
