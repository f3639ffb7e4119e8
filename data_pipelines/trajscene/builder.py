"""TrajScene for tensorflow-datasets: its builder and metadata.

Tensorflow is not needed: shards are ArrayRecord, every field is one byte
string that `features` decodes.

  builder = builder.TrajScene(config=TrajSceneConfig(...), data_dir=DIR)
  builder.download_and_prepare(file_format="array_record")

builds a data set in one process. `make` builds the same records in many and
adds the metadata through `write_metadata`; both are opened alike.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_pipelines.trajscene import features, generation
from more4d_jax import errors
from more4d_jax.data import record_directory, records

_DESCRIPTION = (
  "Scenes with the path of every pixel of the first frame, exact or tracked."
)


@dataclasses.dataclass
class TrajSceneConfig(tfds.core.BuilderConfig):
  """A named data set: split name -> what to generate."""

  splits: Mapping[str, generation.SceneOptions] = dataclasses.field(
    default_factory=dict
  )


class TrajScene(tfds.core.GeneratorBasedBuilder):
  """Builds the splits of its config one record after the other."""

  VERSION = tfds.core.Version(record_directory.DATA_VERSION)
  BUILDER_CONFIGS: ClassVar = [
    TrajSceneConfig(
      name="procedural_tiny",
      description="Procedural scenes of 9 frames at 48 x 64.",
      splits={
        "train": generation.SceneOptions(
          count=300, frames=9, height=48, width=64
        )
      },
    ),
    TrajSceneConfig(
      name="procedural_2_small",
      description="Procedural scenes of version 2, 17 frames at 64 x 96.",
      splits={
        "train": generation.SceneOptions(
          count=1000, frames=17, height=64, width=96, views=1, version=2
        ),
        "unseen": generation.SceneOptions(
          count=100,
          frames=17,
          height=64,
          width=96,
          views=1,
          seeds_of="unseen2",
        ),
      },
    ),
  ]

  def __init__(self, *, config: str | TrajSceneConfig | None = None, **more):
    """Takes the arguments of tensorflow-datasets' builders.

    Args:
      config: a name of `BUILDER_CONFIGS`, or a config; there is no default.
      **more: see `tfds.core.DatasetBuilder`.

    Raises:
      UserError: no config is named.
    """
    if config is None:
      names = ", ".join(f"{self.name}/{name}" for name in self.builder_configs)
      raise errors.UserError(
        f"which data set? expected {self.name}/CONFIG, where records lie in "
        f"data_dir/{self.name}/CONFIG, or one that can be generated: {names}"
      )
    super().__init__(config=config, **more)

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=features.description(), description=_DESCRIPTION
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[int, dict[str, bytes]]]]:
    del dl_manager  # Nothing is downloaded.
    return {
      name: self._generate_examples(options)
      for name, options in self.builder_config.splits.items()
    }

  def _generate_examples(
    self, options: generation.SceneOptions
  ) -> Iterator[tuple[int, dict[str, bytes]]]:
    for index in range(options.count):
      record = generation.generate(index, options)
      yield index, records.encode(record)


def write_metadata(
  directory: str | os.PathLike[str],
  split: str,
  shard_lengths: Sequence[int],
  num_bytes: int,
  out: str | os.PathLike[str] | None = None,
) -> None:
  """Writes `dataset_info.json` and `features.json` about finished shards.

  Args:
    directory: where all shards of the split lie.
    split: its name.
    shard_lengths: records in each shard.
    num_bytes: size of all records.
    out: where the files go; beside the shards unless given.
  """
  path = pathlib.Path(directory).absolute()
  named = path.parents[1].name == record_directory.DATASET_NAME
  template = tfds.core.ShardedFileTemplate(
    data_dir=directory,
    dataset_name=record_directory.DATASET_NAME,
    split=split,
    filetype_suffix="array_record",
  )
  info = tfds.core.DatasetInfo(
    builder=tfds.core.DatasetIdentity(
      name=record_directory.DATASET_NAME,
      version=tfds.core.Version(record_directory.DATA_VERSION),
      config_name=path.parent.name if named else None,
      data_dir=os.fspath(directory),
      module_name="",
    ),
    features=features.description(),
    description=_DESCRIPTION,
  )
  info.set_file_format("array_record")
  info.set_splits(
    tfds.core.splits.SplitDict(
      [
        tfds.core.SplitInfo(
          name=split,
          shard_lengths=list(shard_lengths),
          num_bytes=num_bytes,
          filename_template=template,
        )
      ]
    )
  )
  info.write_to_directory(out or directory)
