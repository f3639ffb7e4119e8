"""Films that ViSM trains on, against the records' own pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.procedural import records as procedural
from more4d_jax.conditions import rendered_views
from more4d_jax.data import loader, transforms
from more4d_jax.models.encoders import tokenizer


@pytest.fixture(scope="module", name="films")
def _films():
  record = procedural.make_record(
    11, procedural.RecordOptions(frames=5, height=32, width=48, views=1)
  )
  example = rendered_views.FilmExample(
    transforms.ExampleOptions(frames=5, height=32, width=48),
    tokenizer.ByteTokenizer(32),
  )
  films = rendered_views.Films([record])
  assert len(films) == 2
  batch = loader.stack([example(films[i]) for i in range(2)])
  batch = {name: jnp.asarray(value) for name, value in batch.items()}
  rendered = jax.device_get(jax.jit(rendered_views.render_batch)(batch))
  return record, jax.device_get(batch), *rendered


def test_films_are_those_of_the_record(films):
  record, batch, _, _ = films
  np.testing.assert_array_equal(batch["target_video"][0], record.views[0].video)
  np.testing.assert_array_equal(batch["target_video"][1], record.video)
  np.testing.assert_array_equal(batch["poses"][1], record.world_from_camera)


def test_own_camera_sees_the_first_picture_whole(films):
  record, _, rendering, coverage = films
  assert coverage[1, 0].all()
  np.testing.assert_allclose(
    rendering[1, 0], record.video[0] / 255.0, atol=1e-5
  )


def test_rendering_agrees_with_the_true_film_where_it_is_covered(films):
  _, batch, rendering, coverage = films
  true = batch["target_video"] / 255.0
  for camera in range(2):
    error = np.abs(rendering[camera] - true[camera])[coverage[camera]]
    other = np.abs(true[camera] - true[camera].mean())[coverage[camera]]
    # Points carry the first frame's colours: shadows and edges may differ,
    # but far less than pictures do from their mean.
    assert error.mean() < 0.5 * other.mean()
    assert coverage[camera].mean() > 0.5


def test_light_records_are_one_clear_line():
  record = procedural.make_record(
    12, procedural.RecordOptions(frames=5, height=32, width=48, light=True)
  )
  example = rendered_views.FilmExample(
    transforms.ExampleOptions(frames=5, height=32, width=48),
    tokenizer.ByteTokenizer(32),
  )
  with pytest.raises(ValueError, match="no views"):
    example(rendered_views.Films([record])[0])
