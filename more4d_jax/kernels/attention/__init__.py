"""Attention implementations and the dispatcher that chooses among them."""
