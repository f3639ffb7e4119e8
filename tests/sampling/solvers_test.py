"""The samplers against closed forms, plain loops and the original's numbers."""

import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from more4d_jax.sampling import (
  guidance,
  sampler_options,
  schedules,
  solvers,
)

_GOLDEN = json.loads(
  (pathlib.Path(__file__).parents[1] / "golden" / "samplers.json").read_text()
)
_RNG = np.random.default_rng(0)
_NOISE, _DATA = _RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)


def _draw(velocity, noise, config, schedule=None):
  """Latents after each step; `velocity` takes latents and timesteps."""

  @jax.jit
  def step(solution, row):
    timestep = jnp.full(
      (len(noise), *(1,) * (np.ndim(noise) - 1)), row.timestep
    )
    moved = jnp.asarray(velocity(solution.latents, timestep))
    return solvers.advance(solution, moved, row)

  solution, steps = solvers.start(jnp.asarray(noise)), []
  for row in solvers.rows(schedule or solvers.schedule_of(config)):
    solution = step(solution, row)
    steps.append(solution.latents)
  return np.stack(steps)


def test_every_sampler_applies_the_shift_once():
  plain = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
  for sampler in schedules.SAMPLERS:
    sigmas, timesteps = schedules.noise_levels(sampler, 4, 3.0)
    np.testing.assert_allclose(sigmas, 3 * plain / (1 + 2 * plain))
    np.testing.assert_allclose(timesteps, 1000 * sigmas[:-1])


@pytest.mark.parametrize("case", _GOLDEN["cases"])
def test_compat_schedules_are_the_originals(case):
  known = _GOLDEN["cases"][case]
  sampler, shift, steps = case.split("_")
  config = sampler_options.SamplerConfig(
    num_steps=int(steps[1:]),
    shift=float(shift[1:]),
    sampler=sampler,
    schedule="compat",
  )
  schedule = solvers.schedule_of(config)
  known_sigmas = np.asarray(known["sigmas"], np.float32)
  if sampler == "euler":  # The original forms them in float32.
    np.testing.assert_allclose(schedule.sigmas, known_sigmas, atol=1e-7)
    np.testing.assert_allclose(
      schedule.timesteps, known["timesteps"], rtol=2e-6
    )
  else:
    sigmas = schedule.sigmas.astype(np.float32)
    np.testing.assert_array_equal(sigmas, known_sigmas)
    np.testing.assert_array_equal(schedule.timesteps, known["timesteps"])
  found = _draw(
    lambda x, t: 0.3 * x + jnp.sin(t / 1000) * jnp.asarray(_GOLDEN["c"]),
    np.asarray(_GOLDEN["noise"], np.float32)[None],
    config,
  )[:, 0]
  # Ten float32 steps each way.
  np.testing.assert_allclose(found, known["steps"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ("sampler", "first", "last"),
  [
    ("unipc", [999, 970, 937], [374, 214]),
    ("dpm++", [1000, 970, 937], []),
  ],
)
def test_compat_timesteps_of_twelve_steps(sampler, first, last):
  _, timesteps = schedules.noise_levels(sampler, 12, 3.0, "compat")
  assert timesteps[:3].tolist() == first
  assert timesteps[len(timesteps) - len(last) :].tolist() == last


def test_compat_euler_grid_is_shifted_twice_at_its_end():
  sigmas, _ = schedules.noise_levels("euler", 50, 5.0, "compat")
  assert sigmas.shape == (51,)
  known = [1, 0.99587163, 0.99160462]
  np.testing.assert_allclose(sigmas[:3], known, atol=1e-8)
  known = [0.1928036, 0.11481946, 0.02441406, 0]
  np.testing.assert_allclose(sigmas[-4:], known, atol=1e-7)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"num_steps": 0}, "a num_steps of at least 1"),
    ({"sampler": "heun"}, "'heun'"),
    ({"schedule": "karras"}, "'karras'"),
    ({"shift": 0.0}, "a shift of 0.01 to 100"),
    ({"cfg_skip": 1.5}, "a cfg_skip of 0 to 1"),
    ({"teacache": float("nan")}, "teacache"),
    ({"teacache_start": 0}, "teacache_start of at least 1"),
  ],
)
def test_settings_without_sense_are_one_clear_line(changes, words):
  with pytest.raises(ValueError, match=words) as caught:
    sampler_options.SamplerConfig(**changes)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("schedule", schedules.SCHEDULES)
@pytest.mark.parametrize("sampler", schedules.SAMPLERS)
def test_straight_paths_are_followed_exactly(sampler, schedule, steps):
  config = sampler_options.SamplerConfig(
    steps, sampler=sampler, schedule=schedule
  )
  first = solvers.schedule_of(config).sigmas[0]
  noisy = (1 - first) * _DATA + first * _NOISE
  found = _draw(lambda x, t: _NOISE - _DATA, noisy, config)
  np.testing.assert_allclose(found[-1], _DATA, atol=5e-6)  # Float32.


def test_euler_is_the_plain_loop():
  config = sampler_options.SamplerConfig(9)
  found = _draw(lambda x, t: x * t / 1000 - 0.3, [[1.0, -2.0]], config)
  x = np.array([[1.0, -2.0]])
  sigmas = solvers.schedule_of(config).sigmas
  for now, after in itertools.pairwise(sigmas):
    x = x + (after - now) * (x * now - 0.3)
  np.testing.assert_allclose(found[-1], x, rtol=1e-5)


def _gaussian_velocity(x, timestep, mean=1.0, std=0.2):
  """Of data N(mean, std^2), whose flow maps noise to mean + std noise."""
  sigma = timestep / 1000
  variance = ((1 - sigma) * std) ** 2 + sigma**2
  score = -(x - (1 - sigma) * mean) / variance
  data = mean + std**2 * (1 - sigma) * -score
  return -sigma * score - data


@pytest.mark.parametrize(
  ("sampler", "order"), [("euler", 1), ("dpm++", 2), ("unipc", 2)]
)
def test_order_of_convergence(sampler, order):
  """Between levels at which log(alpha / sigma) is finite, as theory asks."""
  normal = np.linspace(-2, 2, 9)[:, None]

  def exact(sigma):
    spread = np.hypot((1 - sigma) * 0.2, sigma)
    return (1 - sigma) * 1.0 + spread * normal

  gaps = []
  for steps in (16, 32):
    sigmas = 1 / (1 + np.exp(np.linspace(-2, 2, steps + 1)))
    schedule = schedules.make_schedule(sampler, sigmas, 1000 * sigmas[:-1])
    noisy = exact(sigmas[0]).astype(np.float32)
    found = _draw(_gaussian_velocity, noisy, None, schedule)[-1]
    gaps.append(np.abs(found - exact(sigmas[-1])).max())
  assert abs(np.log2(gaps[0] / gaps[1]) - order) < 0.25


@pytest.mark.parametrize("sampler", schedules.SAMPLERS)
def test_from_pure_noise_to_data(sampler):
  noise = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
  gaps = []
  for steps in (12, 96):
    config = sampler_options.SamplerConfig(steps, shift=1.0, sampler=sampler)
    found = _draw(_gaussian_velocity, noise, config)[-1]
    gaps.append(float(jnp.abs(found - (1.0 + 0.2 * noise)).max()))
  # First order at the two ends, where log(alpha / sigma) is infinite.
  assert gaps[1] < gaps[0] / 4
  assert gaps[0] < {"euler": 0.1, "dpm++": 0.05, "unipc": 0.05}[sampler]


def _diffusers(sampler, steps, shift):
  """The scheduler of the same name."""
  pytest.importorskip("torch", reason="torch is not installed")
  diffusers = pytest.importorskip(
    "diffusers", reason="diffusers is not installed"
  )
  if sampler == "euler":
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
  else:
    kind = {
      "unipc": diffusers.UniPCMultistepScheduler,
      "dpm++": diffusers.DPMSolverMultistepScheduler,
    }[sampler]
    scheduler = kind(
      prediction_type="flow_prediction",
      use_flow_sigmas=True,
      flow_shift=shift,
      solver_order=2,
      lower_order_final=True,
      final_sigmas_type="zero",
    )
  scheduler.set_timesteps(steps)
  return scheduler


@pytest.mark.torch
@pytest.mark.parametrize(("steps", "shift"), [(5, 5.0), (12, 3.0), (30, 1.0)])
@pytest.mark.parametrize("sampler", schedules.SAMPLERS)
def test_against_diffusers(sampler, steps, shift):
  scheduler = _diffusers(sampler, steps, shift)
  import torch

  sigmas = scheduler.sigmas.numpy().astype(np.float64)
  timesteps = scheduler.timesteps.numpy().astype(np.float64)
  x = torch.from_numpy(_NOISE)
  expected = []
  for timestep in scheduler.timesteps:
    velocity = 0.3 * x + np.sin(float(timestep) / 1000) * torch.from_numpy(
      _DATA
    )
    x = scheduler.step(velocity, timestep, x, return_dict=False)[0]
    expected.append(x.numpy())
  found = _draw(
    lambda x, t: 0.3 * x + jnp.sin(t / 1000) * _DATA,
    _NOISE,
    None,
    schedules.make_schedule(sampler, sigmas, timesteps),
  )
  # Thirty float32 steps, differently ordered.
  np.testing.assert_allclose(found, expected, atol=2e-5)


def test_halves_are_joined_negative_first():
  negative, positive = jnp.zeros((2, 1)), jnp.asarray([[1.0], [10.0]])
  found = guidance.pair({"text": negative}, {"text": positive})["text"]
  np.testing.assert_array_equal(found, [[0], [0], [1], [10]])
  np.testing.assert_array_equal(guidance.combine(found, 6.0), [[6], [60]])
  stacked = guidance.stack({"text": negative}, {"text": positive})
  np.testing.assert_array_equal(stacked.last["text"], positive)
  doubled = guidance.in_sequence(lambda half: 2 * half["text"], stacked)
  np.testing.assert_array_equal(doubled.leaves[0].reshape(4, 1), 2 * found)


def test_combine_is_float32():
  velocity = jnp.asarray([[1.0], [1.0078125]], jnp.bfloat16)
  found = guidance.combine(velocity, 6.0)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, [[1 + 6 * 0.0078125]])
