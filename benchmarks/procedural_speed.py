"""Measures how many procedural records one core makes in a minute.

Run from the repository: python benchmarks/procedural_speed.py
It prints one JSON line per case; times are CPU seconds of this process.
"""

import argparse
import json
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from data_pipelines.procedural import records

CASES = {
  "full 17x64x96, one view": records.RecordOptions(17, 64, 96),
  "full 9x48x64, one view": records.RecordOptions(9, 48, 64),
  "light 9x48x64": records.RecordOptions(9, 48, 64, light=True),
}


def main() -> None:
  """Times every case."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--scenes", type=int, default=40)
  count = parser.parse_args().scenes
  for name, options in CASES.items():
    records.make_record(0, options)
    start = time.process_time()
    for seed in range(count):
      records.make_record(seed, options)
    seconds = (time.process_time() - start) / count
    line = {
      "case": name,
      "scenes": count,
      "milliseconds": round(1e3 * seconds, 1),
      "per_minute_and_core": round(60 / seconds),
    }
    print(json.dumps(line))


if __name__ == "__main__":
  main()
