"""Which room may import which, and what importing the library costs."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = ROOT / "more4d_jax"

# Room -> rooms of ours it may import, besides itself and `errors`.
RULES = {
  "errors": (),
  "locations": (),
  "item_lists": ("locations",),
  "registry": (),
  "pickles": (),
  "rng": ("plausibility",),
  "partitioning": (),
  "kernels": (),
  "array_files": (),
  "whole_files": (),
  "plausibility": (),
  "geometry": ("array_files", "plausibility", "whole_files"),
  "data": ("locations",),
  "viewing": ("track_files", "whole_files"),
  "track_files": ("array_files", "pictures", "whole_files"),
  "judges": ("pictures", "viewing", "whole_files"),
  "models": ("partitioning", "kernels", "geometry"),
  "name_maps": ("models",),
  "checkpoints": (
    "locations",
    "registry",
    "pickles",
    "partitioning",
    "models",
    "name_maps",
  ),
  "bundled": ("locations", "checkpoints"),
  "lora": ("registry", "models", "name_maps", "checkpoints"),
  "published": (
    "locations",
    "registry",
    "geometry",
    "models",
    "name_maps",
    "checkpoints",
    "lora",
  ),
  "conditions": (
    "locations",
    "partitioning",
    "data",
    "geometry",
    "models",
    "sampling",
    "rendering",
  ),
  "training": (
    "locations",
    "rng",
    "partitioning",
    "geometry",
    "models",
    "checkpoints",
  ),
  "sampling": ("rng", "partitioning", "geometry", "models"),
  "rendering": ("kernels", "geometry"),
  "planning": ("partitioning",),
  "evaluation": ("geometry",),
  "depth_sources": ("array_files", "plausibility"),
  "pictures": ("plausibility",),
  "inputs": ("depth_sources", "pictures"),
  "scene_size": ("depth_sources", "geometry", "inputs", "pictures"),
  "batches": (),
  "completion": ("inputs", "rendering", "scene"),
  "scene": (
    "array_files",
    "geometry",
    "plausibility",
    "rendering",
    "whole_files",
  ),
}
# These join rooms and may import any of them; no room imports them.
JOINERS = {
  "generation_memory",
  "generation_plan",
  "generation_programs",
  "generation_requests",
  "preparation",
  "experiment",
  "generation",
  "pipeline",
  "checkpoint_networks",
  "evaluate_bundle",
  "evaluate_chain",
  "evaluate_films",
  "evaluate_spread",
  "cli",
}
# Rooms without these at their top level: a loader worker or a viewer never
# touches a device.
WITHOUT_JAX = (
  "item_lists",
  "data",
  "viewing",
  "inputs",
  "pictures",
  "depth_sources",
  "array_files",
  "whole_files",
  "track_files",
  "judges",
  "plausibility",
  "errors",
  "pickles",
)
OFFLINE = ("data_pipelines", "configs", "colab")
# Slow or heavy, or not installed with the library.
FORBIDDEN = ("tensorflow", "torch", "benchmarks", "tests")


def _files(folder):
  return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def _module(path):
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path, *, lazy):
  """Dotted names a file imports; inside functions too if `lazy`."""
  tree = ast.parse(path.read_text())
  inside = set()
  for node in ast.walk(tree):
    typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(
      node.test
    )
    if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      inside.update(map(id, ast.walk(node)))
  for node in ast.walk(tree):
    if not lazy and id(node) in inside:
      continue
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _room(name):
  """Room of a dotted name inside the library, None for the package itself."""
  parts = name.split(".")
  return parts[1] if len(parts) > 1 else None


def _mistakes(path):
  """Imports of a file that the rules do not allow."""
  room = _room(_module(path))
  for name in _imports(path, lazy=True):
    top = name.split(".")[0]
    if top in FORBIDDEN or (top in OFFLINE and room not in JOINERS):
      yield f"{_module(path)} imports {name}"
    if top != "more4d_jax" or room is None or room in JOINERS:
      continue
    if _room(name) not in {room, "errors", "__version__", *RULES[room]}:
      yield f"{_module(path)} imports {name}"


def test_rooms():
  found = [line for path in _files(LIBRARY) for line in _mistakes(path)]
  assert not found


def test_offline_code_is_imported_lazily():
  found = [
    f"{_module(path)} imports {name} when it is loaded"
    for path in _files(LIBRARY)
    for name in _imports(path, lazy=False)
    if name.split(".")[0] in OFFLINE
  ]
  assert not found


@pytest.mark.parametrize("room", WITHOUT_JAX)
def test_rooms_without_jax(room):
  folder = LIBRARY / room
  for path in _files(folder) if folder.is_dir() else [LIBRARY / f"{room}.py"]:
    tops = {name.split(".")[0] for name in _imports(path, lazy=True)}
    assert not tops & {"jax", "flax", "optax", "orbax"}, path


def test_every_room_has_a_rule():
  rooms = {
    path.stem
    for path in LIBRARY.iterdir()
    if (path.is_dir() or path.suffix == ".py") and path.name[0] not in "_."
  }
  assert rooms == set(RULES) | JOINERS


def test_no_cycles():
  files = {_module(path): path for path in _files(LIBRARY)}
  graph = {}
  for module, path in files.items():
    targets = set()
    for name in _imports(path, lazy=False):
      parent = name.rpartition(".")[0]
      targets |= {t for t in (name, parent) if t in files and t != module}
    # A package's __init__ is loaded first; importing a sibling is no cycle.
    graph[module] = {t for t in targets if not module.startswith(f"{t}.")}
  done, active = set(), []

  def visit(module):
    assert module not in active, " -> ".join([*active, module])
    if module not in done:
      active.append(module)
      for target in sorted(graph[module]):
        visit(target)
      done.add(active.pop())

  for module in sorted(graph):
    visit(module)


def _python(code):
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.strip()


def test_importing_the_library_is_cheap():
  code = """
import sys, time
start = time.process_time()
import more4d_jax
assert time.process_time() - start < 2
assert not {"jax", "tensorflow", "torch"} & set(sys.modules)
print(more4d_jax.__version__)
"""
  assert _python(code)


def test_using_the_library_loads_no_other_framework_and_no_device():
  names = [
    _module(path)
    for path in _files(LIBRARY)
    if _room(_module(path)) not in ("viewing", "cli")
  ]
  code = f"""
import importlib, sys
for name in {names}:
  importlib.import_module(name)
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
print(sorted({{"tensorflow", "torch"}} & set(sys.modules)))
"""
  assert _python(code) == "[]"


def test_rooms_without_jax_load_none():
  names = [
    _module(path)
    for room in ("data", "viewing")
    for path in _files(LIBRARY / room)
  ]
  code = f"""
import importlib, sys
for name in {names}:
  importlib.import_module(name)
print(sorted({{"flax", "tensorflow", "torch"}} & set(sys.modules)))
"""
  assert _python(code) == "[]"


def test_an_unknown_attribute_is_an_error():
  import more4d_jax

  with pytest.raises(AttributeError, match="nothing"):
    _ = more4d_jax.nothing
