"""Noise levels, timesteps and whole trajectories of the three samplers."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from more4d_jax.models import flow_matching
from more4d_jax.sampling import (
  sampler_options,
  schedules,
  solvers,
)
from tests.parity.adapters import stated, wan_weights

_SAMPLERS = {"euler": "euler", "unipc": "unipc", "dpm": "dpm++"}
_CASE = re.compile(r"out\.((\w+)_s([\d.]+)_n(\d+))\.trajectory")
_TRAIN = re.compile(r"out\.(euler_train_s([\d.]+))\.sigmas")
_LEVELS = re.compile(r"out\.sampling_sigmas_s([\d.]+)_n(\d+)")
_MODEL = r"= # \* x ± # \* sin\(t / #\) \* c"


def _follow(noise, c, config, constants):
  """Latents after each step under the velocity of config.json."""
  rate, size, period = constants

  @jax.jit
  def step(solution, row):
    turn = jnp.sin(row.timestep / period)
    velocity = rate * solution.latents + size * turn * c
    return solvers.advance(solution, velocity, row)

  solution, steps = solvers.start(jnp.asarray(noise)), []
  for row in solvers.rows(solvers.schedule_of(config)):
    solution = step(solution, row)
    steps.append(solution.latents)
  return np.stack(steps)


def _case(io: dict, match: re.Match, constants: tuple[float, ...]) -> dict:
  case, name, shift, steps = match.groups()
  config = sampler_options.SamplerConfig(
    num_steps=int(steps),
    shift=float(shift),
    sampler=_SAMPLERS[name],
    schedule="compat",
  )
  schedule = solvers.schedule_of(config)
  return {
    f"out.{case}.sigmas": schedule.sigmas,
    f"out.{case}.timesteps": schedule.timesteps,
    f"out.{case}.trajectory": _follow(
      io["in.x0"], io["in.c"], config, constants
    ),
  }


def run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Every key of the variants that training and inference use."""
  info, io, _ = wan_weights.read(folder)
  constants = stated.numbers(_MODEL, info["fake_model"])
  out = {}
  for key, value in io.items():
    if match := _LEVELS.fullmatch(key):
      # The levels that the original hands DPM-Solver++.
      shift, steps = float(match[1]), int(match[2])
      out[key] = schedules.noise_levels("dpm++", steps, shift, "compat")[0][:-1]
    elif match := _TRAIN.fullmatch(key):
      flow = flow_matching.FlowConfig(levels=len(value), shift=float(match[2]))
      sigmas = flow_matching.grid_sigma(jnp.arange(len(value)), flow)
      out[key] = sigmas
      scale = flow_matching.TIMESTEP_SCALE
      out[f"out.{match[1]}.timesteps"] = scale * sigmas
    elif (match := _CASE.fullmatch(key)) and match[2] in _SAMPLERS:
      out |= _case(io, match, constants)
  return {key: np.asarray(value) for key, value in out.items()}
