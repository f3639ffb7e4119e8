"""TeaCache, skipped guidance and RIFLEx on a small transformer."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax import errors, partitioning
from more4d_jax.models import variants, vism
from more4d_jax.sampling import (
  caching,
  denoising,
  networks,
  sampler_options,
  solvers,
)
from tests.models import random_params

_NANO = variants.get("nano")
_CONFIG = dataclasses.replace(
  _NANO.vism, dit=dataclasses.replace(_NANO.vism.dit, remat="none")
)
_GRID = _NANO.latent_grid
_BATCH = 4


def _draw(*shape, seed):
  values = np.random.default_rng(seed).standard_normal(shape)
  return jnp.asarray(values, jnp.float32)


def _conditions(seed):
  text = _CONFIG.text
  return vism.ViSMConditions(
    text_context=_draw(_BATCH, text.length, text.width, seed=seed),
    mask=jnp.ones((_BATCH, *_GRID, 4)),
    masked=_draw(_BATCH, *_GRID, 16, seed=7),
  )


_CONDITIONS, _NEGATIVE = _conditions(1), _conditions(2)
_NOISE = _draw(_BATCH, *_GRID, 16, seed=3)


@functools.cache
def _model():
  module = vism.ViSM(_CONFIG)
  params = random_params.draw(
    module,
    _NOISE,
    jnp.zeros((_BATCH, _CONFIG.text.length), jnp.int32),
    jnp.zeros((_BATCH, _NANO.height, _NANO.width, 3)),
    method="initialise",
  )
  return networks.BoundModule(params["params"], module)


def _sample(halves="batch", **settings):
  config = sampler_options.SamplerConfig(**{"num_steps": 8, **settings})
  return denoising.draw(
    _model(), _CONDITIONS, _NEGATIVE, _NOISE, config, halves=halves
  )


def _velocity(latents, timestep, conditions, residual=None):
  """The transformer's, layers replaced by a residual where one is given."""
  model = _model()
  timestep = jnp.full(latents.shape[0], timestep, jnp.float32)
  tokens, inputs, head = model(latents, timestep, conditions, method="embed")
  if residual is None:
    after = model(tokens, inputs, method="transform")
    residual = after - tokens
  velocity = model(tokens + residual, head, method="finish")
  return velocity, residual, inputs.modulation


def _plain_loop(config):
  """TeaCache and skipped guidance, step by step in Python; Euler."""
  call = jax.jit(_velocity)
  both = jax.tree.map(
    lambda a, b: jnp.concatenate([a, b]), _NEGATIVE, _CONDITIONS
  )
  sigmas = solvers.schedule_of(config).sigmas
  latents, distance, before, residual = np.asarray(_NOISE), 0.0, None, None
  computed = []
  fit = np.poly1d(caching.FITS[config.teacache_fit])
  for number in range(config.num_steps):
    guided = number < config.num_steps * (1 - config.cfg_skip)
    doubled = np.concatenate([latents, latents]) if guided else latents
    conditions = both if guided else _CONDITIONS
    if not guided and residual is not None:
      residual = residual[-_BATCH:]
    timestep = np.float32(1000 * sigmas[number])
    fresh, new, now = call(doubled, timestep, conditions)
    now = np.asarray(now, np.float64)[-_BATCH:]
    run = number < config.teacache_start
    if run:
      distance = 0.0
    else:
      change = np.abs(now - before).mean() / np.abs(before).mean()
      distance += fit(change)
      run = not distance < config.teacache
    before = now
    computed.append(run)
    if run:
      distance, velocity, residual = 0.0, fresh, new
    else:
      velocity = call(doubled, timestep, conditions, residual)[0]
    velocity = np.asarray(velocity)
    if guided:
      low, high = np.split(velocity, 2)
      velocity = low + config.guidance_scale * (high - low)
    latents = (
      latents + np.float32(sigmas[number + 1] - sigmas[number]) * velocity
    )
  return latents, computed


# The modulation changes by a third to a half at each of eight steps. The second
# share of skipped guidance begins while the layers are left out.
_DRIFT = 1.0


@pytest.mark.parametrize("halves", ["batch", "sequence"])
@pytest.mark.parametrize("cfg_skip", [0.0, 0.625])
def test_decisions_and_latents_are_those_of_a_plain_loop(cfg_skip, halves):
  settings = {
    "teacache": _DRIFT,
    "teacache_start": 2,
    "cfg_skip": cfg_skip,
    "guidance_scale": 3.0,
  }
  found = _sample(halves, **settings)
  latents, computed = _plain_loop(sampler_options.SamplerConfig(8, **settings))
  assert found.computed.tolist() == computed
  assert {True, False} == set(computed[2:])
  # Eight steps in float32, compiled differently.
  scale = np.abs(latents).max()
  np.testing.assert_allclose(found.latents, latents, atol=2e-5 * scale)


def test_a_threshold_that_is_never_kept_changes_nothing():
  plain = _sample()
  found = _sample(teacache=1e-30, teacache_start=1)
  assert found.computed.all() and plain.computed.all()
  scale = float(jnp.abs(plain.latents).max())
  # tokens + (transformed - tokens) is not formed: only the program differs.
  np.testing.assert_allclose(found.latents, plain.latents, atol=1e-5 * scale)


def test_other_thresholds_and_fits_compile_nothing():
  _sample(teacache=0.5)
  before = denoising.step._cache_size()
  for changes in (
    {"teacache": 0.2},
    {"teacache": 3.0, "teacache_start": 2},
    {"teacache": 0.5, "teacache_fit": "wan_14b", "num_steps": 6},
  ):
    _sample(**changes)
  assert denoising.step._cache_size() == before


def test_everything_left_out_after_the_first_step():
  found = _sample(teacache=1e6, teacache_start=1)
  assert found.computed.tolist() == [True] + 7 * [False]


@pytest.mark.parametrize(
  ("skip", "scale", "expected"),
  [(0.0, 6.0, 8), (0.5, 6.0, 4), (0.3, 6.0, 6), (1.0, 6.0, 0), (0.5, 1.0, 0)],
)
def test_guided_steps(skip, scale, expected):
  config = sampler_options.SamplerConfig(8, scale, cfg_skip=skip)
  assert caching.guided_steps(config) == expected


def test_all_guidance_skipped_is_no_guidance():
  alone = _sample(guidance_scale=1.0)
  np.testing.assert_array_equal(_sample(cfg_skip=1.0).latents, alone.latents)
  assert np.abs(_sample(cfg_skip=0.5).latents - alone.latents).max() > 1e-3


def test_fits_by_name():
  fits = {
    "Wan2.1-T2V-1.3B": -5.21862437e4,
    "models/Wan2.1-Fun-1.3B-InP": -5.21862437e4,
    "1p3b": -5.21862437e4,
    "Wan2.1-T2V-14B": -3.03318725e5,
    "Wan2.1-I2V-14B-480P": 2.57151496e5,
    "Wan2.1-I2V-14B-720P": 8.10705460e3,
    "Wan2.1-Fun-14B-Control": 8.10705460e3,
    "Wan2.1-Fun-V1.1-14B-Control": 8.10705460e3,
    "14b": 8.10705460e3,
    "nano": 1.0,
    "": 1.0,
  }
  found = {name: caching.FITS[caching.fit_of(name)][0] for name in fits}
  assert found == fits


def test_riflex_slows_one_frequency_of_the_network():
  sampler = sampler_options.SamplerConfig(riflex=2)
  changed = denoising.with_riflex(_model(), sampler, frames=2).module
  expected = dataclasses.replace(_CONFIG.dit, riflex=(2, 2, 4.886))
  assert changed.config.dit == expected
  plain, slowed = _sample(num_steps=2), _sample(num_steps=2, riflex=1)
  assert np.abs(plain.latents - slowed.latents).max() > 1e-4
  with pytest.raises(errors.UserError, match=re.escape("0 to 4")):
    _sample(riflex=5)


@pytest.mark.slow
def test_a_mesh_of_eight_devices_equals_one():
  settings = {"teacache": _DRIFT, "teacache_start": 2, "cfg_skip": 0.625}
  single = _sample(**settings)
  mesh = partitioning.make_mesh(
    partitioning.MeshConfig(data=2, context=2, tensor=2), jax.devices()
  )
  model = _model()
  boxed = jax.eval_shape(
    lambda key: model.module.init(
      key, _NOISE, 1000 * jnp.ones(_BATCH), _CONDITIONS
    )["params"],
    jax.random.key(0),
  )
  place = partitioning.shardings(mesh, boxed)
  params = {name: model.params[name] for name in place}
  model = model.replace(params=jax.device_put(params, place))
  spread = functools.partial(
    jax.device_put, device=partitioning.batch_sharding(mesh)
  )
  config = sampler_options.SamplerConfig(8, **settings)
  with jax.set_mesh(mesh):
    found = denoising.draw(
      model, *jax.tree.map(spread, (_CONDITIONS, _NEGATIVE, _NOISE)), config
    )
  assert found.computed.tolist() == single.computed.tolist()
  assert {True, False} == set(single.computed.tolist())
  scale = float(jnp.abs(single.latents).max())
  # Sums over devices are ordered differently; eight steps add it up.
  np.testing.assert_allclose(found.latents, single.latents, atol=3e-5 * scale)
