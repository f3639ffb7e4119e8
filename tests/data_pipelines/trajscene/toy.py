"""A quick generator in place of the procedural one."""

import time

from tests.data import scenes


def generate(place, options):
  """The toy scene of a place."""
  return scenes.record(
    options.seed + place,
    options.frames,
    options.height,
    options.width,
    light=options.light,
    views=options.views,
  )


def generate_slowly(place, options):
  """As `generate`, leaving time to be killed."""
  time.sleep(0.02)
  return generate(place, options)
