"""Parts of networks that are on devices, for as long as they are needed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from more4d_jax import registry
from more4d_jax.checkpoints import placing, store
from more4d_jax.name_maps import matching

# Kind of a network and name of one of its parts, see `registry`.
Part = tuple[str, str]


@dataclasses.dataclass
class _Held:
  """An array on devices.

  Attributes:
    source: where it came from; kept, so that its identity stays its own.
    array: on the devices.
    users: the parts that hold it.
  """

  source: Any
  array: jax.Array
  users: set[Part]


class Residency:
  """Places parts of networks and forgets them.

  Arrays that networks share, as a text encoder, are placed once while any part
  that holds them is there.
  """

  def __init__(self, networks: Mapping[str, store.Network]):
    """Keeps networks by kind; places nothing."""
    self._networks = networks
    self._held: dict[int, _Held] = {}

  def params(
    self,
    kind: str,
    parts: Sequence[str] | None = None,
    place: placing.Place = placing.on_default_device,
  ) -> dict[str, Any]:
    """Parameters on devices, those of other parts left out.

    Args:
      kind: of the network.
      parts: names of `registry`; all when left out. A network without one, as
        an image encoder, has no parameters of it.
      place: where each parameter lies. What lies elsewhere is brought there.

    Raises:
      ValueError: for an unknown part.
      UserError: if the stored weights are damaged.
    """
    row = registry.NETWORKS[kind]
    wanted = set(row.parts if parts is None else parts)
    if unknown := wanted - set(row.parts):
      raise ValueError(
        f"a {kind} has the parts {', '.join(row.parts)}, found "
        f"{', '.join(sorted(unknown))}"
      )
    found = {}
    for path, leaf in matching.flatten(self._networks[kind].params).items():
      part = row.part_of(path)
      if part in wanted:
        sharding = place(path, tuple(leaf.shape), leaf.dtype)
        found[path] = self._array(leaf, sharding, (kind, part))
    return matching.unflatten(found)

  def _array(
    self, leaf: Any, sharding: jax.sharding.Sharding, user: Part
  ) -> jax.Array:
    held = self._held.get(id(leaf))
    if held is None:
      held = _Held(leaf, placing.put(leaf, sharding), set())
      self._held[id(leaf)] = held
    elif held.array.sharding != sharding:
      held.array = jax.device_put(held.array, sharding)
    held.users.add(user)
    return held.array

  def release(
    self, kind: str | None = None, parts: Sequence[str] | None = None
  ) -> None:
    """Forgets arrays that no other part holds.

    Their memory is free when the caller has forgotten what `params` gave too.

    Args:
      kind: of the network; all when left out.
      parts: names of `registry`; all when left out.
    """
    for key, held in list(self._held.items()):
      held.users = {
        (k, p)
        for k, p in held.users
        if kind not in (None, k) or (parts is not None and p not in parts)
      }
      if not held.users:
        del self._held[key]

  @property
  def resident(self) -> dict[Part, int]:
    """Bytes of each part that is there, over all devices of this process.

    What parts share is counted for each of them.
    """
    found: dict[Part, int] = {}
    for held in self._held.values():
      size = sum(s.data.nbytes for s in held.array.addressable_shards)
      for user in held.users:
        found[user] = found.get(user, 0) + size
    return found
