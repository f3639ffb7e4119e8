"""Scenes of version 3: truth, bytes, captions, composition, folders."""

import dataclasses
import hashlib
import itertools
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import skimage.data

from data_pipelines.procedural import film_scenes, records, scenes
from data_pipelines.procedural.rendering import ray_casting
from data_pipelines.procedural.subjects import cast
from data_pipelines.trajscene import record_checks
from more4d_jax import errors
from more4d_jax.cli import main
from more4d_jax.data import record_directory
from more4d_jax.data import records as schema
from tests.data_pipelines.importers import geometry_test

_PROGRAM = """
import sys
from tests.data_pipelines.procedural import third_version_test
print(third_version_test.digest(int(sys.argv[1])))
"""
_SIZE = {"frames": 3, "height": 36, "width": 48, "version": 3}


def digest(seed: int) -> str:
  """Returns a hash of every encoded byte of a record."""
  options = records.RecordOptions(**_SIZE)
  fields = schema.encode(records.make_record(seed, options))
  whole = hashlib.sha256()
  for name, value in sorted(fields.items()):
    whole.update(name.encode() + value)
  return whole.hexdigest()


def _scene(seed, kind="all", **changes):
  return scenes.make_scene(
    seed, scenes.SceneOptions(**(_SIZE | {"kind": kind} | changes))
  )


@pytest.fixture(scope="module")
def made():
  """Scenes and records of every second role of the mixture."""
  found = []
  for seed, kind in enumerate(tuple(cast.MIXTURE)[::2]):
    options = records.RecordOptions(**_SIZE, kind=kind, views=1)
    found.append((_scene(seed, kind), records.make_record(seed, options)))
  return found


@pytest.mark.slow
def test_records_follow_the_schema_and_say_where_nothing_is(made):
  open_sky = 0
  for _, record in made:
    schema.check(record)
    assert not list(record_checks.problems(record))
    sky = np.isnan(record.depth[0])
    np.testing.assert_array_equal(np.isnan(record.tracks[0, ..., 2]), sky)
    assert not record.visible[:, sky].any()
    assert record.visible[0][~sky].all()
    assert not record.segmentation[sky].any()
    assert np.nanmin(record.depth) > 0.02 and np.nanmax(record.depth) <= 500
    open_sky += sky.any()
  assert open_sky >= 2


@pytest.mark.slow
def test_tracks_reproject_within_a_ten_thousandth_of_a_pixel(made):
  """The float32 record against the scene's own float64 transforms."""
  for scene, record in made:
    known = np.isfinite(record.depth[0])
    pixels = geometry_test.reprojected(record, record.tracks.reshape(3, -1, 3))
    rows, columns = np.mgrid[:36, :48] + 0.5
    asked = np.stack([columns, rows], -1)[known]
    assert np.abs(pixels[0][known.ravel()] - asked).max() < 1e-4
    camera = scene.camera
    renderer = scene.renderer(camera)
    hits = renderer.hits(0)
    rays = camera.stage_directions(0, camera.directions)
    for key, item in enumerate(scene.world.items):
      mine = (hits.number == key).ravel()
      if not mine.any():
        continue
      points = camera.origin(0) + hits.depth.ravel()[mine] * rays[:, mine]
      material = item.material_points(0, item.local_points(0, points))
      seen = camera.to_camera(2, item.stage_points(2, material))
      ahead = seen[2] > 0.05
      true = np.stack(camera.pixels(seen / seen[2]), -1)
      wide = np.abs(true - [24, 18]).max(axis=-1) < 100
      gap = np.abs(pixels[2][mine] - true)[ahead & wide]
      assert gap.size == 0 or gap.max() < 1e-4, (scene.seed, item.shape)


@pytest.mark.slow
def test_visible_points_are_what_a_ray_through_their_pixel_meets(made):
  for scene, record in made:
    camera = scene.camera
    renderer = scene.renderer(camera)
    pose = camera.stage_from_camera[0]
    good = record.visible[2]
    points = record.tracks[2][good].astype(np.float64)
    stage = points @ pose[:3, :3].T + pose[:3, 3]
    seen = camera.to_camera(2, stage.T)
    depth, _ = ray_casting.nearest(
      camera,
      2,
      seen / seen[2],
      dict(enumerate(scene.world.items)),
      renderer.extent,
    )
    near = np.abs(depth - seen[2]) < 2e-3 * seen[2] + 1e-4
    assert near.mean() > 0.97  # The rest graze an outline or a leaf's rim.


@pytest.mark.slow
def test_another_camera_films_what_a_ray_caster_meets(made):
  for scene, record in made[::2]:
    first = np.abs(record.views[0].video[0].astype(int) - record.video[0])
    assert np.mean(first > 24) < 0.02  # Rounding of poses at leaves' rims.
    camera = scene.other_camera(0)
    hits = scene.renderer(camera).hits(2)
    everywhere = np.tile([-np.inf, np.inf, -np.inf, np.inf], (999, 3, 1))
    depth, number = ray_casting.nearest(
      camera,
      2,
      camera.directions,
      dict(enumerate(scene.world.items)),
      everywhere,
    )
    np.testing.assert_array_equal(number, hits.number.ravel())
    both = np.isfinite(depth)
    np.testing.assert_allclose(depth[both], hits.depth.ravel()[both], rtol=1e-9)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_another_process():
  result = subprocess.run(
    [sys.executable, "-c", _PROGRAM, "5"],
    capture_output=True,
    text=True,
    check=True,
  )
  assert result.stdout.strip() == digest(5)
  assert digest(5) != digest(6)


def test_the_oracle_shares_picture_and_caption_but_not_the_motion():
  options = records.RecordOptions(**_SIZE, light=True, kind="person")
  first = records.make_record(4, options)
  second = records.make_record(4, options, 1004)
  assert first.caption == second.caption
  np.testing.assert_array_equal(first.segmentation, second.segmentation)
  moved = first.segmentation > 0
  assert np.abs((first.tracks - second.tracks)[:, moved]).max() > 1e-3


@pytest.mark.slow
def test_compositions_vary_as_photographs_do():
  """Angles, roll, fields of view, places of the subject, moving share."""
  made = [_scene(seed, height=24, width=32) for seed in range(60)]
  shares = [film_scenes.moving_share(scene) for scene in made]
  low, high = film_scenes.MOVING
  assert np.mean([low <= share <= high for share in shares]) > 0.9
  assert min(shares) < 0.1 and max(shares) > 0.35
  widths = [2 * np.arctan(16 / s.camera.intrinsics[0]) for s in made]
  assert np.degrees(min(widths)) < 40 and np.degrees(max(widths)) > 75
  assert np.degrees(min(widths)) >= 25 and np.degrees(max(widths)) <= 100
  down = [s.camera.stage_from_camera[0, 1, 2] for s in made]
  assert min(down) < -0.05 and max(down) > 0.3  # Up and down.
  tilted = [abs(s.camera.stage_from_camera[0, 1, 0]) > 0.06 for s in made]
  assert 0.05 < np.mean(tilted) < 0.5
  assert {s.world.lighting.sky is None for s in made} == {True, False}
  seconds = [(_SIZE["frames"] - 1) / s.fps for s in made]
  assert min(seconds) >= 0.5 and max(seconds) <= 4.0


def test_upright_pictures_are_composed_too():
  scene = _scene(3, "person", height=48, width=36)
  picture, hits = scene.renderer(scene.camera).frame(0)
  assert picture.shape == (48, 36, 3)
  moves = np.array([p.object_number for p in scene.world.items] + [0]) > 0
  assert 0.03 < moves[hits.number].mean() < 0.65


@pytest.mark.slow
def test_captions_have_ten_wordings_for_a_motion_with_and_without_camera():
  made = [_scene(seed, "wheel", height=12, width=16) for seed in range(70)]
  frames = set()
  for scene in made:
    words = scene.caption
    for colour in ("red", "orange", "yellow", "green", "blue", "purple"):
      words = words.replace(colour, "C")
    for colour in ("pink", "cyan", "white", "brown"):
      words = words.replace(colour, "C")
    frames.add(words)
    assert len(scene.caption) <= 96
    tokens = scene.caption.split(" ")
    assert all(tokens), scene.caption
    for word, after in itertools.pairwise(tokens):
      if word in ("a", "an"):
        assert (word == "an") == (after[0] in "aeiou"), scene.caption
  assert len(frames) > 30
  told = [("camera" in s.caption or "track" in s.caption) for s in made]
  assert 0.1 < np.mean(told) < 0.6


def test_a_named_colour_can_be_seen():
  """The hue of a red or a blue ball's pixels is on the right side."""
  seen = set()
  for seed in range(40):
    scene = _scene(seed, "jelly", height=24, width=32)
    colour = next((c for c in ("red", "blue") if f" {c} " in scene.caption), "")
    if not colour:
      continue
    picture, hits = scene.renderer(scene.camera).frame(0)
    mine = [k for k, p in enumerate(scene.world.items) if p.object_number == 1]
    red, _, blue = picture[np.isin(hits.number, mine)].mean(axis=0)
    assert (red > blue) == (colour == "red"), scene.caption
    seen.add(colour)
  assert seen == {"red", "blue"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  place = tmp_path_factory.mktemp("photos")
  for name in ("coffee", "chelsea"):
    PIL.Image.fromarray(getattr(skimage.data, name)()).save(
      place / f"{name}.png"
    )
  return str(place)


def test_photographs_become_surfaces_and_backdrops(folder):
  plain = _scene(2, "cart")
  made = _scene(2, "cart", textures=folder, photos=folder)
  assert len(made.world.items) == len(plain.world.items) + 1
  before, _ = plain.renderer(plain.camera).frame(0)
  after, _ = made.renderer(made.camera).frame(0)
  assert np.abs(before.astype(int) - after).mean() > 5
  again = _scene(2, "cart", textures=folder, photos=folder)
  np.testing.assert_array_equal(again.renderer(again.camera).frame(0)[0], after)


def _make(tmp_path, *more):
  return main.main(
    [
      "data", "make", "--out", str(tmp_path / "out"), "--count", "1",
      "--frames", "5", "--height", "16", "--width", "24", "--processes", "1",
      *more,
    ]
  )  # fmt: skip


def test_the_command_makes_version_3(tmp_path):
  assert not _make(tmp_path)
  (opened,) = record_directory.open_records(tmp_path / "out", "train")
  source = opened.decode(("source",))["source"]
  assert source.startswith("procedural 3, ")


@pytest.mark.parametrize(
  ("more", "message"),
  [
    (("--textures", "nowhere"), "nowhere is no folder"),
    (("--photos", "nowhere"), "nowhere is no folder"),
    (("--textures", "tests", "--version", "2"), "belong to version 3"),
    (("--scenes", "walker"), "no procedural scenes 'walker' of version 3"),
  ],
)
def test_what_cannot_be_made_is_one_line(tmp_path, capsys, more, message):
  assert _make(tmp_path, *more) == 2
  said = capsys.readouterr().err.strip()
  assert message in said and len(said.splitlines()) == 1
  assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures_is_named(tmp_path):
  (tmp_path / "broken.jpg").write_bytes(b"no picture")
  with pytest.raises(errors.UserError, match="cannot be read"):
    _scene(0, textures=str(tmp_path))
  options = dataclasses.replace(
    records.RecordOptions(**_SIZE), photos=str(tmp_path)
  )
  with pytest.raises(errors.UserError, match="cannot be read"):
    records.make_record(0, options)
