"""Errors of a checkpoint's estimates, as `data.estimation_noise` draws them.

python -m benchmarks.estimation_errors --checkpoint runs/demo/bundle \
  --records runs/demo/records/held_out
"""

import argparse
import dataclasses

import numpy as np

from more4d_jax import batches, pipeline
from more4d_jax.data import estimation_noise, record_directory, transforms


def main() -> None:
  """Prints the fitted sizes of the errors of depth and of motion."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--checkpoint", required=True)
  parser.add_argument("--records", required=True)
  parser.add_argument("--count", type=int, default=64)
  parser.add_argument("--depth-only", action="store_true")
  flags = parser.parse_args()
  pipe = pipeline.load(flags.checkpoint)
  found = pipe.networks.network("depth").metadata
  frames, height, width = (found[n] for n in ("frames", "height", "width"))
  options = transforms.ExampleOptions(frames, height, width)
  records = record_directory.open_records(flags.records)
  examples = [
    transforms.scene_example(records[i], options)
    for i in range(min(flags.count, len(records)))
  ]
  true = np.stack([e["depth"] for e in examples])
  images = np.stack([e["image"] for e in examples])
  estimated = np.concatenate(
    [pipe.generator.depth(images[i : i + 1]) for i in range(len(images))]
  )
  fitted = estimation_noise.fit_depth(estimated, true)
  print(f"{len(true)} pictures: {dataclasses.asdict(fitted)}")
  if flags.depth_only:
    return
  pictures = [
    batches.PictureBatch(
      e["image"][None],
      e["depth"][None],
      e["intrinsics"][None],
      [e["caption"]],
      noise_keys=[(0, number)],
    )
    for number, e in enumerate(examples)
  ]
  sampled = [drawn.tracks[0] for drawn in pipe.generator.tracks(pictures)]
  tracks = np.stack([e["tracks"] for e in examples])
  motion = estimation_noise.fit_motion(np.stack(sampled), tracks)
  print(f"{len(true)} scenes: {dataclasses.asdict(motion)}")


if __name__ == "__main__":
  main()
