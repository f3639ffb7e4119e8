"""The rows of the ablation table: what each changes, and the paper's figure.

The only declaration of them; a test holds the table of docs/ablations.md to it.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Row:
  """One variant of the method.

  Attributes:
    name: of its folder.
    label: in the table; what differs from the full method.
    config: file in configs/ablations/; empty for the baseline.
    arguments: what follows the file's colon besides size and task, as in
      "mode=min_max".
    tasks: which of "motion_vae" and "strag" are trained differently.
    takes_task: whether the file serves several tasks, named after its colon.
    paper: mean of subject and background consistency; None if the paper has
      no such row (docs/method/paper.md#ablations).
  """

  name: str
  label: str
  config: str = ""
  arguments: str = ""
  tasks: Sequence[str] = ("strag",)
  takes_task: bool = False
  paper: float | None = None


def _normalisation(mode: str, label: str, paper: float | None) -> Row:
  return Row(
    mode,
    label,
    "normalisation",
    f"mode={mode}",
    ("motion_vae", "strag"),
    takes_task=True,
    paper=paper,
  )


BASELINE = Row("full", "full method", tasks=(), paper=0.8702)
ROWS: Sequence[Row] = (
  BASELINE,
  _normalisation("min_max", "motion over one range of the first frame", 0.8604),
  _normalisation("none", "motion as plain displacement", None),
  Row(
    "without_motion_perception",
    "no Motion Perception Module",
    "without_motion_perception",
    paper=0.8650,
  ),
  Row(
    "global_motion_feature",
    "one motion feature for all tokens",
    "global_motion_feature",
    paper=0.8743,
  ),
  Row(
    "without_depth_latents",
    "no depth latents",
    "without_depth_latents",
    paper=0.8567,
  ),
  Row(
    "compat_alignment",
    "motion features begin at the reference tokens",
    "compat_alignment",
  ),
  Row(
    "random_motion_encoder",
    "motion encoder not trained",
    "random_motion_encoder",
  ),
  Row(
    "fixed_trajectory_encoder",
    "trajectory encoder not trained",
    "fixed_trajectory_encoder",
    tasks=("motion_vae",),
  ),
)
"""In the order of the table; the first is what the others differ from."""


def guide() -> str:
  """The table of rows in docs/ablations.md."""
  lines = [
    "| row | what differs | in `configs/ablations/` | paper: consistency |",
    "|---|---|---|---|",
  ]
  for row in ROWS:
    file = f"`{row.config}.py`" if row.config else ""
    file += f", `{row.arguments}`" if row.arguments else ""
    paper = "" if row.paper is None else f"{row.paper:.4f}".removeprefix("0")
    lines.append(f"| `{row.name}` | {row.label} | {file} | {paper} |")
  return "\n".join([*lines, ""])
