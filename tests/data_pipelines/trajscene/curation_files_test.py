"""Curation as a whole: files, captions, interruption, Beam."""

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from data_pipelines.trajscene import (
  captioning,
  curate,
  curation_filters,
  make,
  validate,
)
from more4d_jax import errors
from more4d_jax.cli import main
from more4d_jax.data import record_directory, records
from tests.data import scenes
from tests.data_pipelines.trajscene import make_test
from tests.data_pipelines.trajscene.curation_test import HEIGHT, WIDTH, smooth


def curated_record(place, options):
  """Different films; some with a fault."""
  record = scenes.record(place, options.frames, HEIGHT, WIDTH)
  film = smooth(place, (HEIGHT, WIDTH))[[0, 0, 1, 1, 2]]
  film = (film // 2 + 40 + 5 * np.arange(5)[:, None, None, None]).astype(
    np.uint8
  )
  tracks = record.tracks.copy()
  if place == 1:
    film[:, :4] = 0
  if place == 2:
    tracks = np.repeat(tracks[:1], 5, 0)
  if place == 3:
    tracks[2] += np.float32(2.0)
  if place == 4:
    film = film[[0, 0, 0, 0, 0]]
  if place == 5:
    return dataclasses.replace(
      curated_record(0, options), id="toy-copy", caption="a copy"
    )
  if place == 6:
    tracks[1, :6, :, 2] = 900
  return dataclasses.replace(record, video=film, tracks=tracks)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  out = tmp_path_factory.mktemp("made") / "records"
  options = make_test.options(out, count=9)
  return make.make_records(options, curated_record)


def options_of(made, out, **more):
  return curate.CurateOptions(
    str(made), str(out), processes=1, progress=False, **more
  )


LOOSE = ("scale=off",)  # Rendering compiles; one test of it is enough.
FAULTS = {
  "toy-1": ["letterbox"],
  "toy-2": ["motion"],
  "toy-3": ["jerk"],
  "toy-4": ["frozen"],
  "toy-copy": ["duplicate"],
  "toy-6": ["depth_spread", "invalid_depth", "jerk"],
}


def lines_of(out):
  text = (out / curate.LINES_FILE).read_text().splitlines()
  return [json.loads(line) for line in text]


def test_the_good_ones_are_copied_as_they_are(made, tmp_path):
  out = tmp_path / "out"
  found = curate.curate(options_of(made, out))
  assert (found.count, found.kept) == (9, 3)
  assert validate.validate(out).problems == ()
  before, after = (
    record_directory.open_records(made),
    record_directory.open_records(out),
  )
  kept = [0, 7, 8]
  for place, index in enumerate(kept):
    assert after[place].fields == before[index].fields
  for line in lines_of(out):
    wanted = FAULTS.get(line["id"], [])
    assert sorted(line["refused_by"]) == sorted(wanted), line["id"]
  assert lines_of(out)[5]["copy_of"] == "toy-0"
  manifest = json.loads((out / "manifest.json").read_text())["curation"]
  assert (manifest["looked_at"], manifest["kept"]) == (9, 3)
  for name, filtered in curation_filters.FILTERS.items():
    entry = manifest["filters"][name]
    assert entry["threshold"] == filtered.threshold
    assert entry["why"] == filtered.why
    counts = entry["histogram"]["counts"]
    assert sum(counts) == sum(name in line for line in lines_of(out))
    assert entry["refused"] == sum(name in w for w in FAULTS.values())
  modified = (out / "manifest.json").stat().st_mtime_ns
  assert curate.curate(options_of(made, out)) == found
  assert (out / "manifest.json").stat().st_mtime_ns == modified
  with pytest.raises(errors.UserError, match="holds records of other options"):
    curate.curate(options_of(made, out, settings=("motion=off",)))


def test_interrupted_it_goes_on(made, tmp_path, monkeypatch):
  monkeypatch.setattr(curate, "_TASK", 2)
  monkeypatch.setattr(curate, "_SHARD_RECORDS", 2)
  curate.curate(options_of(made, tmp_path / "undisturbed", settings=LOOSE))
  wanted = make_test.files(tmp_path / "undisturbed")
  real_measure, real_shard = curate.measure_range, record_directory.write_shard
  out, calls = tmp_path / "out", []

  def failing_measure(options, start, stop):
    calls.append(start)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return real_measure(options, start, stop)

  def failing_shard(path, entries):
    if path.name.endswith("00001-of-00002"):
      raise KeyboardInterrupt
    real_shard(path, entries)

  monkeypatch.setattr(curate, "measure_range", failing_measure)
  monkeypatch.setattr(record_directory, "write_shard", failing_shard)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      curate.curate(options_of(made, out, settings=LOOSE))
  assert calls == [0, 2, 4, 4, 6, 8]
  monkeypatch.setattr(record_directory, "write_shard", real_shard)
  curate.curate(options_of(made, out, settings=LOOSE))
  assert calls == [0, 2, 4, 4, 6, 8]
  assert make_test.files(out) == wanted


def test_nothing_kept_is_an_error(made, tmp_path):
  strict = options_of(made, tmp_path / "out", settings=(*LOOSE, "motion=99"))
  with pytest.raises(errors.UserError, match=r"none of the 9 .*motion 9"):
    curate.curate(strict)


def test_captions_and_verdicts(made, tmp_path, capsys):
  """The whole way: ask, answer, judge, curate."""
  asked, answers = tmp_path / "asked.jsonl", tmp_path / "answers.jsonl"
  arguments = ["data", "ask", "--records", str(made), "--out", str(asked)]
  assert main.main([*arguments, "--frames", "3"]) == 0
  requests = [json.loads(line) for line in asked.read_text().splitlines()]
  assert len(requests) == 9
  assert "which direction" in requests[0]["question"]
  jpeg = base64.b64decode(requests[0]["images"][2])
  picture = np.asarray(Image.open(io.BytesIO(jpeg))).astype(int)
  video = record_directory.open_records(made)[0].decode(("video",))["video"]
  assert np.abs(picture - video[-1]).mean() < 12  # JPEG, on tiny pictures.
  answers.write_text(
    json.dumps({"id": "toy-0", "answer": " two dogs\n run left "}) + "\n\n"
  )
  assert main.main([*arguments, "--question", "judge"]) == 0
  judged = [json.loads(line) for line in asked.read_text().splitlines()]
  assert judged[0]["question"].endswith("Caption: square 0 slides to the right")
  assert "images" not in judged[0]
  verdicts = tmp_path / "verdicts.jsonl"
  verdicts.write_text(
    "\n".join(
      json.dumps({"id": name, "answer": answer})
      for name, answer in {
        "toy-0": '```json\n{"keep": true, "reason": "dogs"}\n```',
        "toy-7": '{"keep": false, "reason": "a waterfall"}',
      }.items()
    )
  )
  out = tmp_path / "out"
  arguments = ["data", "curate", "--records", str(made), "--out", str(out)]
  arguments += ["--captions", str(answers), "--verdicts", str(verdicts)]
  arguments += ["--processes", "1", "--threshold", *LOOSE]
  capsys.readouterr()
  assert main.main(arguments) == 0
  assert "1 of 9 records kept" in capsys.readouterr().out
  kept = record_directory.open_records(out)
  assert len(kept) == 1
  records.verify(kept[0].fields)
  assert kept[0].decode(("caption",))["caption"] == "two dogs run left"
  found = {line["id"]: line.get("verdict") for line in lines_of(out)}
  assert (found["toy-7"], found["toy-8"]) == ("a waterfall", "no verdict")


def test_unreadable_answers(tmp_path):
  path = tmp_path / "answers.jsonl"
  path.write_text('{"id": "a", "answer": "I would keep it"}\n')
  assert captioning.verdicts_in(path) == {"a": "no readable verdict"}
  path.write_text('{"id": "a", "answer": "{\\"keep\\": 1}"}\n')
  assert captioning.verdicts_in(path) == {"a": "no readable verdict"}
  path.write_text('{"id": "a"}\n')
  with pytest.raises(errors.UserError, match=r"line 1 of .* no JSON"):
    captioning.captions_in(path)
  with pytest.raises(errors.UserError, match="cannot be read"):
    captioning.captions_in(tmp_path / "nowhere")


def test_beam_gives_the_same_files(made, tmp_path):
  pytest.importorskip("apache_beam", reason="apache-beam is the extra [beam]")
  from data_pipelines.trajscene import curate_beam

  here = options_of(made, tmp_path / "here", settings=LOOSE)
  there = options_of(made, tmp_path / "there", settings=LOOSE)
  found = curate.curate(here)
  assert curate_beam.run(there, "--runner=DirectRunner") == found
  assert make_test.files(tmp_path / "there") == make_test.files(
    tmp_path / "here"
  )


def test_without_beam_it_says_so(made, tmp_path, monkeypatch):
  import builtins

  from data_pipelines.trajscene import curate_beam

  real = builtins.__import__

  def missing(name, *rest, **more):
    if name.startswith("apache_beam"):
      raise ImportError(name)
    return real(name, *rest, **more)

  monkeypatch.setattr(builtins, "__import__", missing)
  with pytest.raises(errors.UserError, match=r"install more4d_jax\[beam\]"):
    curate_beam.run(options_of(made, tmp_path / "out"))
