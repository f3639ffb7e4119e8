"""Shapes, surfaces and joints that subjects are built of."""
