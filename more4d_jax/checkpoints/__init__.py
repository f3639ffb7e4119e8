"""Networks, bundles and training states on disk."""
