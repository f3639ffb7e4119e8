"""Networks, bundles of networks and training states on disk.

A network is a directory `params/` (an Orbax tree) and `network.json` (kind,
configuration, metadata). A bundle is a directory of networks and a
`model.json` that names them. Both are written under a temporary name and
renamed when complete, so a directory that exists is whole.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from more4d_jax import errors

FORMAT_VERSION = 1
KINDS = ("video_vae", "depth", "motion_vae", "strag", "vism")
_NETWORK, _MODEL, _PARAMS = "network.json", "model.json", "params"


@dataclasses.dataclass(frozen=True)
class Network:
  """One trained network.

  Attributes:
    kind: one of KINDS.
    config: the frozen dataclass its module takes.
    params: nested dict of numpy arrays.
    metadata: what sampling must know (JSON values).
  """

  kind: str
  config: Any
  params: Any
  metadata: dict[str, Any]


def config_classes() -> dict[str, type]:
  """Maps each kind of network to the dataclass that configures it."""
  from more4d_jax.models import motion_vae, strag, video_vae, vism
  from more4d_jax.models.encoders import depth

  return {
    "video_vae": video_vae.VideoVAEConfig,
    "depth": depth.DepthConfig,
    "motion_vae": motion_vae.MotionVAEConfig,
    "strag": strag.STraGConfig,
    "vism": vism.ViSMConfig,
  }


def _value_from_json(annotation: Any, value: Any) -> Any:
  origin = typing.get_origin(annotation)
  if origin in (typing.Union, types.UnionType):
    if value is None:
      return None
    inner = [a for a in typing.get_args(annotation) if a is not type(None)]
    return _value_from_json(inner[0], value)
  if dataclasses.is_dataclass(annotation):
    return config_from_json(annotation, value)
  if origin is tuple or annotation is tuple:
    kinds = typing.get_args(annotation)
    inner = kinds[0] if kinds else Any
    return tuple(_value_from_json(inner, v) for v in value)
  return value


def config_from_json(cls: type, values: Mapping[str, Any]) -> Any:
  """Rebuilds a configuration dataclass from `dataclasses.asdict` as JSON.

  Raises:
    UserError: if a field is unknown to this version.
  """
  hints = typing.get_type_hints(cls)
  names = {field.name for field in dataclasses.fields(cls)}
  unknown = sorted(set(values) - names)
  if unknown:
    raise errors.UserError(
      f"{cls.__name__} has no field {unknown[0]!r}: the checkpoint was "
      "written by another version; train or convert it again"
    )
  return cls(
    **{key: _value_from_json(hints[key], v) for key, v in values.items()}
  )


def fingerprint(params: Any, facts: Mapping[str, Any]) -> str:
  """Returns 16 hexadecimal digits that change with any weight and any fact.

  It is how a network's metadata names the network it was trained on.

  Args:
    params: nested dict of arrays.
    facts: what else decides what the network computes, JSON values.
  """
  digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  for path, leaf in leaves:
    digest.update(jax.tree_util.keystr(path).encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()[:16]


def _write_json(path: pathlib.Path, value: Any) -> None:
  path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _replace_directory(temporary: pathlib.Path, final: pathlib.Path) -> None:
  """Moves a finished directory to its name, over an older one."""
  if final.exists():
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    os.replace(final, old)
    os.replace(temporary, final)
    shutil.rmtree(old)
  else:
    os.replace(temporary, final)


def _temporary(final: pathlib.Path) -> pathlib.Path:
  temporary = final.with_name(final.name + ".partial")
  if jax.process_index() == 0:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
  return temporary


def save_network(
  directory: str | os.PathLike[str],
  params: Any,
  config: Any,
  metadata: Mapping[str, Any],
) -> None:
  """Writes one network, replacing an older one of that name.

  Args:
    directory: where the network goes; its parents are made.
    params: nested dict of arrays without boxes.
    config: one of the dataclasses of `config_classes`.
    metadata: JSON values.
  """
  kinds = {cls: kind for kind, cls in config_classes().items()}
  final = pathlib.Path(directory).absolute()
  temporary = _temporary(final)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(temporary / _PARAMS, params)
    checkpointer.wait_until_finished()
  if jax.process_index() == 0:
    header = {
      "format": FORMAT_VERSION,
      "kind": kinds[type(config)],
      "config": dataclasses.asdict(config),
      "metadata": dict(metadata),
    }
    _write_json(temporary / _NETWORK, header)
    _replace_directory(temporary, final)


def _read_json(
  path: pathlib.Path, what: str, advice: str, needed: Sequence[str]
) -> dict[str, Any]:
  if not path.is_file():
    raise errors.UserError(
      f"expected {what} in {path.parent}, found no {path.name}: {advice}"
    )
  try:
    value = json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise errors.UserError(f"{path} is damaged ({error}): {advice}") from error
  if not isinstance(value, dict):
    raise errors.UserError(f"{path} holds no JSON object: {advice}")
  if value.get("format") != FORMAT_VERSION:
    raise errors.UserError(
      f"{path} has format {value.get('format')}, expected {FORMAT_VERSION}: "
      f"{advice}"
    )
  missing = [name for name in needed if name not in value]
  if missing:
    raise errors.UserError(f"{path} lacks {', '.join(missing)}: {advice}")
  return value


def load_header(directory: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads a network's kind, configuration and metadata, not its weights.

  Raises:
    UserError: if the directory holds no network, or a damaged one.
  """
  path = pathlib.Path(directory).absolute()
  return _read_json(
    path / _NETWORK,
    "a network",
    "train it to its end, or name its directory",
    ("kind", "config", "metadata"),
  )


def _load_params(directory: pathlib.Path) -> Any:
  with ocp.PyTreeCheckpointer() as checkpointer:
    shapes = checkpointer.metadata(directory).item_metadata
    if shapes is None:
      raise ValueError("no metadata of the arrays")
    restore = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes.tree
    )
    return checkpointer.restore(
      directory, args=ocp.args.PyTreeRestore(restore_args=restore)
    )


def load_network(directory: str | os.PathLike[str]) -> Network:
  """Reads a network; its parameters are numpy arrays in host memory.

  Raises:
    UserError: if the directory holds no network, or a damaged one.
  """
  path = pathlib.Path(directory).absolute()
  header = load_header(path)
  try:
    params = _load_params(path / _PARAMS)
  except (ValueError, OSError, KeyError) as error:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise errors.UserError(
      f"the weights in {path / _PARAMS} are damaged ({line}): train or bundle "
      "them again"
    ) from error
  config = config_from_json(config_classes()[header["kind"]], header["config"])
  return Network(header["kind"], config, params, header["metadata"])


def bundle(
  workdirs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> None:
  """Copies the trained networks of several workdirs into one checkpoint.

  Args:
    workdirs: training workdirs whose `model/` is finished, one of a kind.
    out: new directory for the bundle.

  Raises:
    UserError: if a workdir has no trained network, two have the same kind, or
      a network was trained on another one than the one given.
  """
  final = pathlib.Path(out).absolute()
  if final.exists() and not (final / _MODEL).is_file():
    raise errors.UserError(
      f"{final} exists and is no bundle: name a new directory for the bundle"
    )
  found: dict[str, tuple[pathlib.Path, dict[str, Any]]] = {}
  for workdir in workdirs:
    source = pathlib.Path(workdir).absolute() / "model"
    header = load_header(source)
    if header["kind"] in found:
      raise errors.UserError(
        f"{workdir} and {found[header['kind']][0].parent} both hold a "
        f"{header['kind']}: give one workdir of each kind"
      )
    found[header["kind"]] = (source, header)
  _check_lineage({kind: header for kind, (_, header) in found.items()})
  temporary = _temporary(final)
  for kind, (source, _) in found.items():
    shutil.copytree(source, temporary / kind)
  _write_json(
    temporary / _MODEL,
    {"format": FORMAT_VERSION, "networks": {kind: kind for kind in found}},
  )
  _replace_directory(temporary, final)


def _check_lineage(headers: Mapping[str, Mapping[str, Any]]) -> None:
  """Refuses networks that were trained on other ones than those beside them."""
  for kind, header in headers.items():
    for base, identity in header["metadata"].get("trained_on", {}).items():
      beside = headers.get(base)
      if beside and beside["metadata"].get("identity") != identity:
        raise errors.UserError(
          f"the {kind} was trained on another {base} than the one given: "
          f"bundle the {base} it started from, or train the {kind} again"
        )


def load_bundle(directory: str | os.PathLike[str]) -> dict[str, Network]:
  """Reads every network of a bundle, by kind.

  Raises:
    UserError: if the directory is no bundle, or a damaged one.
  """
  path = pathlib.Path(directory).absolute()
  model = _read_json(
    path / _MODEL, "a bundle", "make one with `more4d bundle`", ("networks",)
  )
  return {
    kind: load_network(path / name) for kind, name in model["networks"].items()
  }


class TrainingCheckpoints:
  """Checkpoints of a run: state, loader position and other JSON values."""

  def __init__(self, directory: str | os.PathLike[str], *, keep: int):
    """Opens or makes the directory; the newest `keep` checkpoints stay."""
    # Copies are synchronous on CPU: there the saved buffer could be the very
    # one that the next step is given to overwrite.
    self._manager = ocp.CheckpointManager(
      pathlib.Path(directory).absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        enable_async_checkpointing=jax.default_backend() != "cpu",
      ),
    )

  def latest_step(self) -> int | None:
    """Returns the newest finished step, or None before the first."""
    return self._manager.latest_step()

  def save(self, step: int, state: Any, extra: Mapping[str, Any]) -> None:
    """Writes one checkpoint unless this step is already there."""
    if step in self._manager.all_steps():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        extra=ocp.args.JsonSave(dict(extra)),
      ),
    )

  def restore(
    self, abstract_state: Any, step: int | None = None
  ) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint into the shardings of `abstract_state`.

    Args:
      abstract_state: tree of ShapeDtypeStruct with shardings.
      step: which one; the newest by default.

    Raises:
      UserError: if the checkpoint does not fit the state.
    """
    step = self.latest_step() if step is None else step
    try:
      found = self._manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract_state),
          extra=ocp.args.JsonRestore(),
        ),
      )
    except (ValueError, KeyError, OSError) as error:
      line = str(error).splitlines()[0] if str(error) else type(error).__name__
      raise errors.UserError(
        f"checkpoint {step} in {self._manager.directory} does not fit this "
        f"run ({line}): delete it, or use another --workdir"
      ) from error
    return found["state"], found["extra"]

  def close(self) -> None:
    """Waits for unfinished writes."""
    self._manager.wait_until_finished()
    self._manager.close()
