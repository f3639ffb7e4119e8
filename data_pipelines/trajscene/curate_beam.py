"""Curation as an Apache Beam pipeline: the functions of `curate`, spread out.

The runner and its settings are Beam's own options, passed through: nothing
for the DirectRunner on this machine, `--runner=DataflowRunner --project=...`,
`--runner=FlinkRunner --flink_master=...` or `--runner=SparkRunner ...` for a
cluster. Workers read the records and write the shards themselves, so that both
directories must lie where every worker sees them under the same path (a mounted
bucket or network file system), with this package installed.
"""

import json
import pathlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from data_pipelines.trajscene import curate, curation_filters, shards
from more4d_jax import errors

_TABLE = "lines.jsonl"


def run(options: curate.CurateOptions, arguments: str = "") -> curate.Outcome:
  """Curates as `curate.curate` does; the same files come out.

  Args:
    options: `processes` and `progress` are the runner's matter.
    arguments: Beam's pipeline options, as on a command line.

  Raises:
    UserError: as `curate.curate`; or Beam is not installed.
  """
  try:
    from apache_beam.options import pipeline_options
  except ImportError as error:
    raise errors.UserError(
      "apache-beam is not installed; install more4d_jax[beam], or leave --beam "
      "out to curate on this machine"
    ) from error
  limits, identity = curate.begin(options)
  out = pathlib.Path(options.out)
  settings = pipeline_options.PipelineOptions(shlex.split(arguments))
  settings.view_as(pipeline_options.SetupOptions).save_main_session = False
  with shards.opened(out, identity) as parts:
    if parts is not None:
      _decide(options, limits, parts / _TABLE, settings)
      lines = _lines(parts / _TABLE)
      layout = curate.plan(lines, options)
      _copy(options, layout, settings)
      curate.finish(options, lines, layout, limits, identity)
  return curate.outcome(out)


def _decide(
  options: curate.CurateOptions,
  limits: Mapping[str, float | None],
  table: pathlib.Path,
  settings: Any,
) -> None:
  """Measures and decides; leaves the lines of all records in a file."""
  import apache_beam as beam

  if table.exists():
    return
  verdict = curate.verdicts(options)
  limit = limits[curation_filters.DUPLICATE]
  with beam.Pipeline(options=settings) as pipeline:
    measured = (
      pipeline
      | "Ranges" >> beam.Create(curate.tasks(options))
      | "Spread" >> beam.Reshuffle()
      | "Measure"
      >> beam.FlatMap(lambda task: curate.measure_range(options, *task))
    )
    by_id = measured | "ById" >> beam.Map(lambda line: (line["id"], line))
    copies = (
      measured
      | "Bands" >> beam.FlatMap(lambda line: _banded(line, limits))
      | "Group" >> beam.GroupByKey()
      | "Copies"
      >> beam.FlatMap(lambda g: curation_filters.near_copies(g[1], limit))
      | "Nearest" >> beam.CombinePerKey(min)
    )
    _ = (
      {"line": by_id, "copy": copies}
      | "Join" >> beam.CoGroupByKey()
      | "Decide" >> beam.FlatMap(lambda item: _joined(item, limits, verdict))
      | "All" >> beam.combiners.ToList()
      | "Write"
      >> beam.Map(
        lambda lines: shards.write_file(table, curation_filters.as_lines(lines))
      )
    )


def _copy(options: curate.CurateOptions, layout: list, settings: Any) -> None:
  """Writes all shards."""
  import apache_beam as beam

  with beam.Pipeline(options=settings) as pipeline:
    _ = (
      pipeline
      | "Shards" >> beam.Create(layout)
      | "Spread" >> beam.Reshuffle()
      | "Copy" >> beam.Map(lambda shard: curate.copy_shard(options, *shard))
    )


def _banded(
  line: Mapping[str, Any], limits: Mapping[str, float | None]
) -> Iterator[tuple[str, tuple[str, str]]]:
  """Band -> id and hash, for records that the other filters keep."""
  if limits[curation_filters.DUPLICATE] is None:
    return
  if not curation_filters.reasons(line, limits):
    for band in curation_filters.bands(line):
      yield band, (line["id"], line["hash"])


def _joined(
  item: tuple[str, Mapping[str, Any]],
  limits: Mapping[str, float | None],
  verdict: Any,
) -> Iterator[dict[str, Any]]:
  name, found = item
  copy_of = next(iter(found["copy"]), None)
  for line in found["line"]:
    yield curation_filters.decide(line, limits, copy_of, verdict(name))


def _lines(table: pathlib.Path) -> list[dict[str, Any]]:
  return [json.loads(line) for line in table.read_text().splitlines()]
