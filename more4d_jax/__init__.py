"""One picture and a sentence to a 4D scene and novel-view videos."""

__version__ = "0.1.0"
