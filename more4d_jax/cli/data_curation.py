"""`more4d data curate` and `ask`: which records are good, and their words."""

import pathlib
from typing import Literal

from more4d_jax import errors
from more4d_jax.cli import outputs


def curate(
  *,
  records: str,
  out: str,
  split: str | None = None,
  threshold: tuple[str, ...] = (),
  captions: str | None = None,
  verdicts: str | None = None,
  processes: int | None = None,
  beam: str | None = None,
) -> None:
  """Copies the good records to a new data set, says why others are not.

  Filters: invalid_depth, depth_spread and scale (the paper's), visible,
  motion, jerk, reprojection, letterbox, frozen, flat, duplicate (ours). The
  manifest of `out` has their thresholds and histograms, `curation.jsonl` a
  line per record.

  Args:
    records: directory of the data set.
    out: directory of the new one.
    split: its split, where there are several.
    threshold: changed ones, NAME=NUMBER, or NAME=off.
    captions: answers to `data ask --question caption`; they become captions.
    verdicts: answers to `data ask --question judge`; records that are refused
      or not mentioned are left out.
    processes: worker processes; one per core unless given.
    beam: run as an Apache Beam pipeline with these options, for example
      "--runner=DirectRunner" or "--runner=FlinkRunner --flink_master=...".
  """
  from data_pipelines.trajscene import curate as curating
  from data_pipelines.trajscene import curate_beam

  if processes is not None and processes < 1:
    raise errors.UserError(f"processes is {processes}; expected at least 1")
  outputs.check_folder(pathlib.Path(out))
  options = curating.CurateOptions(
    records=records,
    out=out,
    split=split,
    settings=threshold,
    captions=captions,
    verdicts=verdicts,
    processes=processes,
  )
  if beam is None:
    made = curating.curate(options)
  else:
    made = curate_beam.run(options, beam)
  for name, count in made.refused.items():
    print(f"{name} refused {count}")
  print(f"{made.kept} of {made.count} records kept in {out}")


def ask(
  *,
  records: str,
  out: str,
  question: Literal["caption", "judge"] = "caption",
  split: str | None = None,
  frames: int = 6,
) -> None:
  """Writes requests for an external model: captions, or judging captions.

  A line of JSON per record: id, question and, for captions, images. Answer
  with lines of id and answer, and give them to `data curate`.

  Args:
    records: directory of the data set.
    out: file of requests to write.
    question: ask for captions of the films, or to judge the captions.
    split: its split, where there are several.
    frames: pictures per record.
  """
  from data_pipelines.trajscene import captioning

  outputs.check_file(pathlib.Path(out))
  count = captioning.requests(
    records, out, question, split=split, frames=frames
  )
  print(f"{count} requests in {out}")
