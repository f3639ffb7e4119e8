"""Whether two methods differ on the same scenes."""

import numpy as np
import scipy.stats
from jaxtyping import Float


def signed_rank(
  ours: Float[np.ndarray, "S"], theirs: Float[np.ndarray, "S"]
) -> float:
  """The p of Wilcoxon's signed-rank test that differences are even about zero.

  Args:
    ours: a figure of each scene.
    theirs: the other method's of the same scenes.

  Returns: two-sided; 1 where no scene differs.
  """
  if np.array_equal(ours, theirs):
    return 1.0
  return float(scipy.stats.wilcoxon(ours, theirs).pvalue)
