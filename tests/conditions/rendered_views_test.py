"""Films that ViSM trains on, against the records' own pictures."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from data_pipelines.procedural import records as procedural
from more4d_jax import errors
from more4d_jax import scene as scene_lib
from more4d_jax.conditions import rendered_views
from more4d_jax.data import loader, transforms
from more4d_jax.geometry import camera_paths, path_reach
from more4d_jax.models.encoders import tokenizer

_SIZE = (5, 32, 48)
_EXACT = rendered_views.FilmOptions(films=4, estimated=0.0, holes="grey")
_render = jax.jit(rendered_views.render_batch, static_argnames="holes")


def _record(seed, **options):
  sizes = dict(zip(("frames", "height", "width"), _SIZE, strict=True))
  return procedural.make_record(
    seed, procedural.RecordOptions(**{**sizes, **options})
  )


def _example(options=_EXACT):
  return rendered_views.FilmExample(
    transforms.ExampleOptions(*_SIZE), tokenizer.ByteTokenizer(32), options
  )


def _films(record, options=_EXACT):
  source = rendered_views.Films([record], options.films)
  assert len(source) == options.films
  examples = [
    _example(options).random_map(film, np.random.default_rng(number))
    for number, film in enumerate(source)
  ]
  batch = loader.stack(examples)
  rendered = jax.device_get(_render(batch, holes=options.holes))
  return batch, *rendered


@pytest.fixture(scope="module", name="films")
def _films_of_two_views():
  record = _record(11, views=2)
  return record, *_films(record)


def test_films_are_those_of_the_record(films):
  record, batch, _, _ = films
  for number, view in enumerate(record.views):
    np.testing.assert_array_equal(batch["target_video"][number], view.video)
    np.testing.assert_array_equal(
      batch["poses"][number], view.world_from_camera
    )
  for number in (2, 3):  # Its own, and its own without what another hides.
    np.testing.assert_array_equal(batch["target_video"][number], record.video)
    np.testing.assert_array_equal(
      batch["poses"][number], record.world_from_camera
    )


def test_own_camera_sees_the_first_picture_whole(films):
  record, _, rendering, coverage = films
  for number in (2, 3):  # A default path begins there, too.
    assert coverage[number, 0].all()
    np.testing.assert_allclose(
      rendering[number, 0], record.video[0] / 255.0, atol=1e-5
    )


def test_rendering_agrees_with_the_true_film_where_it_is_covered(films):
  _, batch, rendering, coverage = films
  true = batch["target_video"] / 255.0
  for camera in range(4):
    error = np.abs(rendering[camera] - true[camera])[coverage[camera]]
    other = np.abs(true[camera] - true[camera].mean())[coverage[camera]]
    # Points carry the first frame's colours: shadows and edges may differ,
    # but far less than pictures do from their mean.
    assert error.mean() < 0.5 * other.mean()
    assert coverage[camera].mean() > 0.5


def test_reprojection_removes_points_and_adds_none(films):
  _, _, rendering, coverage = films
  own, again = coverage[2], coverage[3]
  # A removed point may bare what lies behind it, but hardly ever does.
  assert (again & ~own).mean() < 0.01
  assert (own & ~again)[1:].mean() > 0.02
  same = own & again
  assert np.abs(rendering[2] - rendering[3])[same].mean() < 0.01


def test_holes_are_grey_or_hold_what_lies_behind(films):
  record, _, rendering, coverage = films
  filled = dataclasses.replace(_EXACT, holes="filled")
  _, shown, again = _films(record, filled)
  np.testing.assert_array_equal(again, coverage)
  np.testing.assert_allclose(shown[coverage], rendering[coverage], atol=1e-4)
  assert (rendering[~coverage] == 0).all()
  assert (shown[~coverage].max(-1) > 0.02).mean() > 0.95


def test_records_without_other_cameras_have_films(films):
  """Imported ones: own camera only, tracks in each camera's own frame."""
  record = dataclasses.replace(
    films[0], views=(), tracks_frame="each_camera", cameras="unknown"
  )
  batch, _, coverage = _films(record, dataclasses.replace(_EXACT, films=3))
  np.testing.assert_array_equal(
    batch["poses"], np.tile(np.eye(4), (3, 5, 1, 1))
  )
  for video in batch["target_video"]:
    np.testing.assert_array_equal(video, record.video)
  assert coverage[1:, 1:].mean() < coverage[0, 1:].mean()


def test_an_estimated_scene_errs_but_not_in_scale(films):
  record, exact, _, _ = films
  options = dataclasses.replace(_EXACT, estimated=1.0)
  batch, _, _ = _films(record, options)
  again, _, _ = _films(record, options)
  np.testing.assert_array_equal(batch["tracks"], again["tracks"])
  for wrong, true in zip(batch["tracks"], exact["tracks"], strict=True):
    ratio = wrong[0, ..., 2] / true[0, ..., 2]
    assert 0.005 < np.std(np.log(ratio)) < 0.5
    # A shift of three deviations, at places twice as far as the median.
    assert abs(np.median(np.log(ratio))) < 0.6
    # On their rays: the first camera sees the same picture.
    np.testing.assert_allclose(
      wrong[0, ..., :2] / wrong[0, ..., 2:],
      true[0, ..., :2] / true[0, ..., 2:],
      atol=1e-5,
    )
  for name in ("target_video", "poses", "image"):
    np.testing.assert_array_equal(batch[name], exact[name])


@pytest.mark.slow
def test_holes_are_as_many_as_on_the_default_paths():
  """Shares of holes of films: of training's reprojections, of sampling's."""
  moving = [name for name in camera_paths.DEFAULTS if name != "static"]
  trained, sampled = [], []
  for seed in range(12):
    record = _record(100 + seed, views=0)
    _, _, coverage = _films(record, dataclasses.replace(_EXACT, films=5))
    trained.extend(1 - coverage[1:].mean((1, 2, 3)))
    scene = scene_lib.Scene(
      record.tracks, record.visible, record.video[0], record.intrinsics, 8.0
    )
    for name in moving:
      reach = path_reach.largest_reach(name, record.tracks, record.intrinsics)
      _, covered = scene.render(scene.camera_path(name, reach))
      sampled.append(1 - covered.mean())
  # Earth mover's distance between two samples of one size.
  apart = np.abs(np.sort(trained) - np.sort(sampled)).mean()
  assert np.mean(sampled) > 0.05
  assert apart < 0.25 * np.mean(sampled)
  bins = [0, 0.05, 0.1, 0.2, 0.4]
  shares = [np.histogram(v, bins)[0] / len(v) for v in (trained, sampled)]
  assert 0.5 * np.abs(shares[0] - shares[1]).sum() < 0.25


@functools.cache
def _light():
  return _record(12, light=True)


def test_light_records_are_one_clear_line():
  with pytest.raises(errors.UserError, match="is light"):
    _example().random_map(
      rendered_views.Film(_light(), 0), np.random.default_rng(0)
    )


@pytest.mark.parametrize(
  "wrong", [{"films": 0}, {"estimated": 1.5}, {"holes": "black"}]
)
def test_wrong_options(wrong):
  with pytest.raises(ValueError, match="expected"):
    rendered_views.FilmOptions(**wrong)
