"""The ablation table: means, spreads and a paired test, beside the paper's."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from more4d_jax.cli import ablation_rows
from more4d_jax.evaluation import paired

_CHANCE = 0.05  # A difference of this p or more settles nothing.


@dataclasses.dataclass(frozen=True)
class Measured:
  """What the runs of a row reached on held-out scenes.

  Attributes:
    errors: end-point error of each seed and scene, metres.
    still: of points that stay, metres; the same for all rows.
    sides: share of the scenes whose caption names a side in which the object
      goes there, of each seed; NaN where no caption does.
  """

  errors: Float[np.ndarray, "R S"]
  still: Float[np.ndarray, "S"]
  sides: Float[np.ndarray, "R"]

  @property
  def relative(self) -> Float[np.ndarray, "R"]:
    """Error over that of "nothing moves", of each seed."""
    return self.errors.mean(axis=1) / self.still.mean()


def report(
  measured: Mapping[str, Measured], rows: Sequence[ablation_rows.Row]
) -> list[dict[str, Any]]:
  """JSON values of each row.

  Args:
    measured: by name; the baseline must be there.
    rows: in the order of the table.

  Returns: `relative` (mean over seeds), `spread` (standard deviation over
    seeds, None for one seed), `seeds` (each), `right_side`; and for all but the
    baseline `change` of the error in shares of the baseline's and `p` of a
    Wilcoxon signed-rank test over scenes, their errors averaged over seeds.
    `paper`, and `order_of_paper`: "shows" where error here and consistency
    there speak for the same side, "opposite" where they do not, "not settled"
    where p is not below 0.05; None without a row in the paper.
  """
  base = measured[ablation_rows.BASELINE.name]
  found = []
  for row in rows:
    mine = measured[row.name]
    relative = mine.relative
    entry = {
      "row": row.name,
      "label": row.label,
      "relative": float(relative.mean()),
      "spread": float(relative.std(ddof=1)) if len(relative) > 1 else None,
      "seeds": relative.tolist(),
      "right_side": _or_none(mine.sides.mean()),
      "paper": row.paper,
    }
    if row is not ablation_rows.BASELINE:
      change = relative.mean() / base.relative.mean() - 1
      entry["change"] = float(change)
      entry["p"] = paired.signed_rank(
        mine.errors.mean(axis=0), base.errors.mean(axis=0)
      )
      entry["order_of_paper"] = _order(change, entry["p"], row.paper)
    found.append(entry)
  return found


def markdown(entries: Sequence[Mapping[str, Any]], made_with: str) -> str:
  """The table for people.

  Args:
    entries: of `report`.
    made_with: what was trained, for how long.
  """
  lines = [
    "# Ablations",
    "",
    made_with,
    "",
    "| variant | error / nothing moves | change | p | right side | paper: "
    "consistency | paper's order |",
    "|---|---|---|---|---|---|---|",
  ]
  for entry in entries:
    spread = entry["spread"]
    error = f"{entry['relative']:.3f}"
    error += "" if spread is None else f" ± {spread:.3f}"
    cells = (
      entry["label"],
      error,
      f"{100 * entry['change']:+.1f} %" if "change" in entry else "",
      f"{entry['p']:.2g}" if "p" in entry else "",
      _text(entry["right_side"], "{:.0%}"),
      _text(entry["paper"], "{:.4f}"),
      entry.get("order_of_paper") or "",
    )
    lines.append(f"| {' | '.join(cells)} |")
  lines += [
    "",
    "Lower errors and higher consistency are better. ± is the standard "
    "deviation over seeds; p is that of a Wilcoxon signed-rank test over "
    "scenes, paired with the full method. The paper measures films by VBench, "
    "this table trajectories against the truth: only the order can agree.",
    "",
  ]
  return "\n".join(lines)


def _order(change: float, p: float, paper: float | None) -> str | None:
  """Whether what is worse here is worse in the paper too."""
  if paper is None or ablation_rows.BASELINE.paper is None:
    return None
  if p >= _CHANCE:
    return "not settled"
  same = (change > 0) == (paper < ablation_rows.BASELINE.paper)
  return "shows" if same else "opposite"


def _or_none(value: Any) -> float | None:
  return float(value) if np.isfinite(value) else None


def _text(value: float | None, form: str) -> str:
  return "" if value is None else form.format(value)
