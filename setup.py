"""Package list and version bounds of more4d_jax."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
  r'^__version__ = "(.+)"$',
  (_ROOT / "more4d_jax" / "__init__.py").read_text(),
  re.MULTILINE,
).group(1)

_CORE = [
  "absl-py>=2.1",
  "av>=14",
  "etils[epath]>=1.12",
  "filelock>=3.12",  # jax's compilation cache bounds its size with it.
  "flax>=0.12",
  "jax>=0.10.2,<0.13",
  "jaxtyping>=0.3",
  "ml_collections>=1.0",
  "numpy>=2.0",
  "optax>=0.2.5",
  "orbax-checkpoint>=0.11.30",
  "Pillow>=11",
  "platformdirs>=4",
  "safetensors>=0.5",
  "scipy>=1.16",
  "tensorboardX>=2.6",
  "tqdm>=4.66",
  "tyro>=0.9",
]
_DATA = [
  "array_record>=0.8",
  "google-crc32c>=1.5",
  "grain>=0.2.15",
  "importlib_resources>=6",  # needed by tensorflow-datasets 4.9.10
  "scipy>=1.14",
  "tensorflow-datasets>=4.9.9",
  "zstandard>=0.23",
]
_VIEW = [
  "matplotlib>=3.9",
  "imageio-ffmpeg>=0.6",
  "mediapy>=1.2.4",
  "plyfile>=1.0",
  "pygltflib>=1.16",
  "trimesh>=4.5",
  "viser>=1.0",
]
_SERVE = ["gradio>=6"]
_GCS = ["gcsfs>=2025.9"]
_EXR = ["openexr>=3.3"]
_TRACK = ["opencv-python-headless>=4.10"]
_CONVERT = ["sentencepiece>=0.2", "tokenizers>=0.20"]
_TEST = [
  "beartype>=0.19",
  "hypothesis>=6.100",
  "ipykernel>=6.29",
  "nbclient>=0.10",
  "nbformat>=5.10",
  "pytest>=8.2",
  "pytest-xdist>=3.6",
  "ruff==0.14.*",
  "scikit-image>=0.25",
  "selenium>=4.20",
]
# What the networks are compared with; torch==2.13.0 goes before it, see the
# Makefile.
_REFERENCE = [
  "diffusers==0.42.1",
  "peft>=0.18",
  "pycolmap>=3.12",
  "transformers==5.24.0",
]

setuptools.setup(
  name="more4d_jax",
  version=_VERSION,
  description="One picture to a 4D scene and novel-view videos, in JAX.",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=setuptools.find_packages(
    include=["more4d_jax", "more4d_jax.*", "data_pipelines*", "configs*"]
  ),
  package_data={
    "more4d_jax.bundled": ["checkpoint/**"],
    "more4d_jax.planning": ["*.pbtxt"],
    "more4d_jax.viewing": ["web/*"],
    "data_pipelines.procedural.surfaces": ["*.json"],
  },
  install_requires=_CORE + _DATA,
  extras_require={
    "view": _VIEW,
    "exr": _EXR,
    "gcs": _GCS,
    "serve": [*_VIEW, *_SERVE],
    "track": _TRACK,
    "sim": ["mujoco>=3.2"],
    "demo": [*_VIEW, "scikit-image>=0.25"],
    "beam": ["apache-beam>=2.60"],
    "convert": _CONVERT,
    "test": _TEST + _VIEW + _SERVE + _CONVERT + _EXR + _TRACK + _GCS,
    "reference": _REFERENCE,
    "docs": ["mkdocs-material>=9.5"],
    "gpu": ["jax[cuda13]>=0.10.2,<0.13"],
    "tpu": ["jax[tpu]>=0.10.2,<0.13"],
  },
  entry_points={"console_scripts": ["more4d = more4d_jax.cli.main:main"]},
)
