"""Ray casting: pictures, depth, tracks and visibility of a scene."""
