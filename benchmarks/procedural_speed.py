"""Measures how many procedural records one process makes in a minute.

Run from the repository: python benchmarks/procedural_speed.py
It prints one JSON line per case: milliseconds of a record (simulated, filmed,
tracked and encoded), which share of them is encoding, and bytes. Times are CPU
seconds of this process; `--kinds` adds a line per kind of scene.
"""

import argparse
import dataclasses
import json
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from data_pipelines.procedural import catalogue, records, splits
from more4d_jax.data import records as schema

SMALL = records.RecordOptions(17, 64, 96, views=0)
CASES = {
  "light 9x48x64": records.RecordOptions(9, 48, 64, light=True),
  "full 9x48x64, one view": records.RecordOptions(9, 48, 64),
  "full 17x64x96": SMALL,
  "full 17x64x96, one view": records.RecordOptions(17, 64, 96),
  "full 17x64x96, version 2": dataclasses.replace(SMALL, version=2),
  "full 17x192x256, version 2": records.RecordOptions(
    17, 192, 256, views=0, version=2
  ),
  "full 17x192x256, version 3": records.RecordOptions(
    17, 192, 256, views=0, version=3
  ),
}
LARGE = {
  "full 49x368x512": records.RecordOptions(49, 368, 512, views=0),
  "full 49x368x512, version 2": records.RecordOptions(
    49, 368, 512, views=0, version=2
  ),
}


def measure(name: str, options: records.RecordOptions, count: int) -> None:
  """Prints the figures of one case."""
  first = splits.SPLITS[splits.TRAINING[options.version]].start
  schema.encode(records.make_record(first, options))  # Imports, caches.
  made, encoded, size = 0.0, 0.0, 0
  for seed in range(first, first + count):
    start = time.process_time()
    record = records.make_record(seed, options)
    middle = time.process_time()
    fields = schema.encode(record)
    made += middle - start
    encoded += time.process_time() - middle
    size += sum(map(len, fields.values()))
  seconds = (made + encoded) / count
  line = {
    "case": name,
    "scenes": count,
    "milliseconds": round(1e3 * seconds, 1),
    "encoding_share": round(encoded / (made + encoded), 2),
    "per_minute_and_process": round(60 / seconds, 1),
    "kilobytes": round(size / count / 1e3, 1),
  }
  print(json.dumps(line), flush=True)


def main() -> None:
  """Times the chosen cases."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--scenes", type=int, default=20)
  parser.add_argument("--large", type=int, default=2, help="at 49x368x512")
  parser.add_argument("--kinds", action="store_true")
  arguments = parser.parse_args()
  for name, options in CASES.items():
    measure(name, options, arguments.scenes)
  if arguments.kinds:
    for kind in catalogue.SECOND.mixture:
      options = dataclasses.replace(SMALL, kind=kind, version=2)
      measure(f"full 17x64x96, {kind}", options, arguments.scenes)
  if arguments.large:
    for name, options in LARGE.items():
      measure(name, options, arguments.large)


if __name__ == "__main__":
  main()
