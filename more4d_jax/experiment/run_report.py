"""`report.md`: a finished training on one page, with its curves as pictures."""

import importlib.util
from collections.abc import Iterator, Mapping

import numpy as np

from more4d_jax import __version__, locations
from more4d_jax.training import metrics as metrics_lib

# Picture besides the loss -> title, and start of the names of its curves.
_PICTURES = {
  "noise": ("loss by noise level", "loss_at_noise/"),
  "gradients": ("norm of the gradient", "gradient_norm"),
  "speed": ("seconds of a step", "seconds"),
}
_SPEED = {
  "seconds": "seconds of a step",
  "input_wait": "share of a step spent waiting for its batch",
  "samples_per_second_and_device": "samples a second and device",
  "tokens_per_second_and_device": "tokens a second and device",
  "utilisation": "share of the devices' peak",
  "device_bytes": "most bytes in use on a device",
}
_POINTS = 100  # Of a smoothed curve.

Column = tuple[np.ndarray, np.ndarray]  # Steps and values.


def read(path: locations.Location) -> dict[str, Column]:
  """Figures by name from a file of JSON lines; what was null is left out."""
  found: dict[str, tuple[list[int], list[float]]] = {}
  for line in metrics_lib.lines(path):
    step = line.pop("step")
    for name, value in line.items():
      if value is not None:
        steps, values = found.setdefault(name, ([], []))
        steps.append(step)
        values.append(value)
  return {name: tuple(map(np.asarray, pair)) for name, pair in found.items()}


def write(workdir: locations.Location, title: str) -> locations.Location:
  """Writes the page and its pictures, from the figures of a workdir.

  Args:
    workdir: with `metrics.jsonl`, and `evaluation.jsonl` if any.
    title: of the page.

  Returns: the page's path.
  """
  metrics = read(workdir / "metrics.jsonl")
  held_out = read(workdir / "evaluation.jsonl")
  lines = [f"# {title}", "", *_summary(metrics), ""]
  lines += _table("Held-out records at the end", _last(held_out))
  lines += _table("Speed, median over the steps", _medians(metrics))
  if importlib.util.find_spec("matplotlib"):
    for name, label, curves in _pictures(metrics, held_out):
      picture = f"report_{name}.png"
      _draw(workdir / picture, label, curves)
      lines += [f"![{label}]({picture})", ""]
  else:
    lines += ["Curves need matplotlib: pip install 'more4d_jax[view]'.", ""]
  path = workdir / "report.md"
  path.write_text("\n".join(lines))
  return path


def _pictures(
  metrics: Mapping[str, Column], held_out: Mapping[str, Column]
) -> Iterator[tuple[str, str, dict[str, Column]]]:
  """Name, title and curves of each picture that there are figures for."""
  losses = {"loss": metrics["loss"]}
  if "loss" in held_out:
    losses["held out"] = held_out["loss"]
  yield "loss", "loss", losses
  for name, (label, start) in _PICTURES.items():
    curves = {k: v for k, v in metrics.items() if k.startswith(start)}
    if curves:
      yield name, label, curves


def _summary(metrics: Mapping[str, Column]) -> list[str]:
  steps, losses = metrics["loss"]
  few = max(len(losses) // 20, 1)
  skipped = metrics.get("skipped")
  total = metrics["seconds"][1].sum() if "seconds" in metrics else 0.0
  count = int(skipped[1][-1]) if skipped else 0
  return [
    f"- {steps[-1]} steps in {total / 3600:.2f} hours; {count} skipped",
    f"- loss {losses[:few].mean():.5g} at first, {losses[-few:].mean():.5g} at "
    f"last (means of {few} steps)",
    f"- more4d_jax {__version__}; the configuration is in `config.json`",
  ]


def _last(columns: Mapping[str, Column]) -> dict[str, float]:
  return {name: values[-1] for name, (_, values) in columns.items()}


def _medians(columns: Mapping[str, Column]) -> dict[str, float]:
  return {
    label: float(np.median(columns[name][1]))
    for name, label in _SPEED.items()
    if name in columns
  }


def _table(title: str, rows: Mapping[str, float]) -> list[str]:
  if not rows:
    return []
  body = [f"| {name} | {value:.5g} |" for name, value in rows.items()]
  return [f"## {title}", "", "| figure | value |", "|---|---:|", *body, ""]


def _smoothed(steps: np.ndarray, values: np.ndarray) -> Column:
  """Means of neighbours, so that a curve of many steps can be read."""
  parts = min(_POINTS, len(steps))
  pairs = zip(np.array_split(steps, parts), np.array_split(values, parts))
  points = [(s.mean(), v.mean()) for s, v in pairs]
  return tuple(np.asarray(points).T)


def _draw(
  path: locations.Location, label: str, curves: Mapping[str, Column]
) -> None:
  """A picture of curves over the steps."""
  from matplotlib import figure

  page = figure.Figure(figsize=(8, 4), layout="constrained")
  axes = page.add_subplot()
  for name, column in curves.items():
    axes.plot(*_smoothed(*column), label=name)
  positive = [bool((v > 0).all()) for _, v in curves.values()]
  scale = "log" if all(positive) else "linear"
  axes.set(xlabel="step", ylabel=label, yscale=scale)
  axes.grid(alpha=0.3)
  axes.legend(fontsize="small")
  with locations.written_here(path) as file:
    page.savefig(file, dpi=110)
