"""The networks, each configured by a frozen dataclass."""
