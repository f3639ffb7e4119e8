"""Classifier-free guidance: two halves, the negative prompt's and the prompt's.

The halves are one doubled batch, which a mesh may divide, or run one after the
other, which needs half the memory for activations.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

HALVES = ("batch", "sequence")


@flax.struct.dataclass
class Stacked:
  """Two trees of one shape, leaf upon leaf, the negative half first.

  Attributes:
    leaves: of both, each with one more axis in front.
    tree: that each half's leaves make.
  """

  leaves: list[Array]
  tree: Any = flax.struct.field(pytree_node=False)

  def half(self, leaves: list[Array]) -> Any:
    """The tree of one half's leaves."""
    return jax.tree.unflatten(self.tree, leaves)

  @property
  def last(self) -> Any:
    """The prompt's half."""
    return self.half([leaf[1] for leaf in self.leaves])


def pair(negative: Any, positive: Any) -> Any:
  """Concatenates two trees of conditions along the batch, negative first."""
  return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), negative, positive)


def stack(negative: Any, positive: Any) -> Stacked:
  """Stacks two trees of conditions."""
  first, tree = jax.tree.flatten(negative)
  pairs = zip(first, jax.tree.leaves(positive), strict=True)
  return Stacked([jnp.stack(both) for both in pairs], tree)


def in_sequence(function: Callable[..., Any], *halves: Stacked) -> Stacked:
  """Calls a function for one half, then for the other.

  A loop cannot hold the activations of both.

  Args:
    function: of one half of each argument.
    *halves: its arguments.
  """
  trees = []

  def one(leaves: list[list[Array]]) -> list[Array]:
    parts = [half.half(part) for half, part in zip(halves, leaves)]
    found, tree = jax.tree.flatten(function(*parts))
    trees.append(tree)
    return found

  found = jax.lax.map(one, [half.leaves for half in halves])
  return Stacked(found, trees[0])


def combine(
  velocity: Float[Array, "B2 ..."], scale: Float[ArrayLike, ""]
) -> Float[Array, "B ..."]:
  """Mixes the two halves of a doubled batch in float32.

  Args:
    velocity: the negative prompt's half, then the prompt's.
    scale: w of v_neg + w (v_pos - v_neg).

  Source: docs/method/conditioning.md#guidance. Differs from the original:
  float32.
  """
  negative, positive = jnp.split(velocity.astype(jnp.float32), 2, axis=0)
  return negative + scale * (positive - negative)
