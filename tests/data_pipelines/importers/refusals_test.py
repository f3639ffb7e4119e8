"""What an import refuses, mends and counts, in archives of one good scene.

Each bad scene stands beside a good one, which must be taken whatever the other
holds.
"""

import gzip
import json
import pickle
import re
import tarfile

import numpy as np
import pytest

from data_pipelines.importers import dense_pickle, ray_grid, run
from data_pipelines.trajscene import validate
from more4d_jax import errors
from tests.data_pipelines.importers import (
  geometry_test,
  kubric_test,
  layouts,
  trajscene_test,
)

GOOD = "000001"
BAD = "000002"


def scene_of(**changes):
  """The arrays of a scene, some of them replaced."""
  return {**trajscene_test.scene_arrays(seed=2), **changes}


def members(arrays, dumped=None):
  """Of a scene whose film is that of the unchanged arrays."""
  content = trajscene_test.members(BAD, arrays, dumped=dumped)
  film = trajscene_test.film(trajscene_test.scene_arrays(seed=2))
  return {**content, f"000001_000050/{BAD}.mp4": film}


def archive(tmp_path, content):
  good = trajscene_test.members(GOOD, trajscene_test.scene_arrays(seed=1))
  path = tmp_path / "source" / "r.tar.gz"
  return trajscene_test.archive(path, {**good, **content})


def imported(path):
  """Names of the records, and notes of each scene."""
  found, report = trajscene_test.imported(path)
  written = json.loads((path.parents[1] / "out" / run.REPORT_FILE).read_text())
  assert written["found"] == report.found
  assert validate.validate(path.parents[1] / "out").problems == ()
  notes = {s["name"].removeprefix("r-"): s["notes"] for s in report.scenes}
  return [r.id.removeprefix("trajscene-r-") for r in found], notes, found


def laughs(levels=22, width=4):
  """Few bytes that unfold to more numbers than fit anywhere."""
  value = [1.0]
  for _ in range(levels):
    value = [value] * width
  return value


COORDS = trajscene_test.scene_arrays(seed=2)["coords"]
COLOURS = trajscene_test.scene_arrays(seed=2)["colors"]
REFUSED = {
  "deep": (b"\x80\x02" + b"]" * 4000 + b"a" * 3999 + b".", "levels deep"),
  "laughs": (
    pickle.dumps({"coords": laughs(), "colors": [], "vis": []}),
    "its own parts so often",
  ),
  "far": (pickle.dumps(scene_of(coords=COORDS * 1e30)), r"e\+30.*above 500"),
  "millimetres": (pickle.dumps(scene_of(coords=COORDS * 1e3)), "above 500"),
  "seen": (
    pickle.dumps(scene_of(vis=np.full(COORDS.shape[:2], 7))),
    "vis reaches from 7 to 7",
  ),
  "bright": (pickle.dumps(scene_of(colors=COLOURS * 4)), "expected 0..255"),
  "axes": (pickle.dumps(scene_of(coords=COORDS[..., :2])), r"expected \(9"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_scene_is_refused_alone(tmp_path, kind):
  dumped, message = REFUSED[kind]
  path = archive(tmp_path, members(scene_of(), dumped=dumped))
  ids, notes, _ = imported(path)
  assert ids == [GOOD]
  [line] = notes[BAD]
  assert "\n" not in line
  assert re.search(message, line)


def _lost(coords, every):
  lost = coords.copy()
  lost[:, ::every] = np.nan
  return lost


def _strayed(coords):
  strayed = coords.copy()
  strayed[5, ::6] = 700
  return strayed


MENDED = {
  "lost": ({"coords": _lost(COORDS, 3)}, "33 % of the points have no first"),
  "strayed": (
    {"coords": _strayed(COORDS)},
    "1.9 % of the positions reach up to 700, above 500: made unknown",
  ),
  "colours": (
    {"colors": COLOURS / 255},
    "colours reach from 0 to 0.99",
  ),
  "signed": ({"colors": COLOURS / 127.5 - 1}, "taken as -1..1"),
  "a few colours": (
    {"colors": np.where(np.arange(48)[:, None] == 0, 300, COLOURS)},
    "2.1 % of the colours lie outside 0..255: clipped",
  ),
}


@pytest.mark.parametrize("kind", MENDED)
def test_what_is_mended_is_counted_with_its_numbers(tmp_path, kind):
  changes, message = MENDED[kind]
  ids, notes, found = imported(archive(tmp_path, members(scene_of(**changes))))
  assert ids == [GOOD, BAD]
  assert any(message in note for note in notes[BAD])
  kept = np.isfinite(found[1].tracks).all((0, 3)).ravel()
  wanted = scene_of(**changes)["coords"]
  within = (np.isfinite(wanted) & (np.abs(wanted) <= 500)).all((0, 2))
  np.testing.assert_array_equal(kept, within)
  if kind in ("colours", "signed"):
    values = np.array([0.0, 3.0, 255.0])
    given = values / 255 if kind == "colours" else values / 127.5 - 1
    made = dense_pickle.colours_of(given[None].repeat(3, 0), [])
    np.testing.assert_array_equal(made[0], values)


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_one_scene_exhausts_is_its_own_matter(
  tmp_path, monkeypatch, error
):
  find, calls = ray_grid.find, []

  def failing(first):
    calls.append(1)
    if len(calls) == 1:
      raise error("too much")
    return find(first)

  monkeypatch.setattr(ray_grid, "find", failing)
  ids, notes, _ = imported(archive(tmp_path, members(scene_of())))
  assert ids == [BAD]
  assert notes[GOOD] == [f"unreadable ({error.__name__}: too much)"]


def test_a_wrong_checksum_of_an_archive_is_said(tmp_path):
  path = archive(tmp_path, {})
  data = bytearray(path.read_bytes())
  data[-8] ^= 1  # The trailer: four bytes of CRC-32, four of length.
  path.write_bytes(data)
  ids, notes, _ = imported(path)
  assert ids == [GOOD]
  assert "CRC check failed" in notes["r.tar.gz"][0]


def test_what_follows_the_end_marker_is_said(tmp_path):
  path = archive(tmp_path, {})
  plain = gzip.decompress(path.read_bytes())
  end = len(plain.rstrip(b"\0"))
  assert end < len(plain) - 1024
  path.write_bytes(gzip.compress(plain + b"more" + bytes(7)))
  ids, notes, _ = imported(path)
  assert ids == [GOOD]
  # All of the padding after the first empty block counts, to the last letter.
  [line] = notes["r.tar.gz after its end"]
  assert line.endswith("bytes follow the archive's end marker: not read")
  blocks = -(-end // 512) + 1
  assert line.startswith(f"{len(plain) + 4 - 512 * blocks} bytes")


def test_a_report_is_left_when_everything_is_refused(tmp_path):
  path = tmp_path / "source" / "r.tar.gz"
  trajscene_test.archive(path, members(scene_of(coords=COORDS * 1e30)))
  with pytest.raises(errors.UserError, match=r"none of the 1 .*report\.json"):
    trajscene_test.imported(path)
  written = json.loads((tmp_path / "out" / run.REPORT_FILE).read_text())
  assert (written["found"], written["taken"]) == (1, 0)
  assert "above 500" in next(iter(written["refused"]))
  assert written["scenes"][0]["name"] == "r-000002"


def test_reasons_that_differ_in_numbers_stand_together(tmp_path):
  content = members(scene_of(coords=COORDS * 1e3))
  third = trajscene_test.scene_arrays(seed=3)
  third["coords"] = third["coords"] * 2e3
  content |= trajscene_test.members("000003", third)
  _, report = trajscene_test.imported(archive(tmp_path, content))
  [(reason, count)] = report.refused.items()
  assert count == 2
  assert "e+03" in reason
  assert "r-000002, r-000003" in report.as_text()


@pytest.mark.parametrize(
  ("pax", "message"),
  [
    (b"20 size=" + "²".encode() + b"123456789\n", "extended header is damaged"),
    (b"30 size=99999999999999999999\n\n", "extended header is damaged"),
    (b"99 path=x\n", "extended header is damaged"),
  ],
)
def test_extended_headers_that_lie_are_damage(tmp_path, pax, message):
  header = tarfile.TarInfo("x")
  header.type, header.size = tarfile.XHDTYPE, len(pax)
  path = archive(tmp_path, {})
  plain = gzip.decompress(path.read_bytes()).rstrip(b"\0")
  plain += bytes(-len(plain) % 512) + header.tobuf() + pax.ljust(512, b"\0")
  path.write_bytes(gzip.compress(plain + bytes(2048)))
  ids, notes, _ = imported(path)
  assert ids == [GOOD]
  assert message in notes["r.tar.gz"][0]


def test_a_damaged_entry_of_a_tfrecord_is_refused_alone(tmp_path):
  payload = layouts.example(kubric_test.Scene().features())
  path = tmp_path / "source" / "a.tfrecord"
  path.parent.mkdir()
  layouts.tfrecord_file(path, [payload, payload])
  data = bytearray(path.read_bytes())
  data[12 + len(payload) // 2] ^= 1
  path.write_bytes(data)
  found, report = geometry_test.imported("kubric", path.parent)
  assert [record.id for record in found] == ["kubric-a-00001"]
  assert report.refused == {"its checksum differs: the entry is damaged": 1}
