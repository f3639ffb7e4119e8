"""Photographs that move: layers cut out, moved in space, rendered again."""
