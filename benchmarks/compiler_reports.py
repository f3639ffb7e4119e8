"""What the compilers of kernels write about them, in numbers."""

import os
import pathlib
import re

# A bundle in a listing: address, "LB" at the head of a loop, an angle bracket
# for each loop around it (the grid is the first); delay slots have none.
_BUNDLE = re.compile(r"\s*(?:0x[0-9a-f]+|0)\s+(LB)?\w*\s*:\s*(>*)\s*\{")
_EXIT = re.compile(r"scmp\.ge\.s32\.totalorder %\w+, (\d+) /\* loop exit test")


def take_bundles(folder: pathlib.Path, kernel: str) -> str:
  """The listing of a TPU kernel's bundles; empties the folder."""
  (listing,) = folder.glob(f"*-{kernel}.*-final_bundles.txt")
  text = listing.read_text()
  for path in folder.iterdir():
    path.unlink()
  return text


def executed_bundles(listing: str) -> int:
  """Bundles that a grid step of a TPU kernel executes, branches not taken.

  A loop inside the grid step counts as often as it turns.

  Args:
    listing: of a kernel whose inner loops hold no other and start at 0.

  Raises:
    ValueError: when a loop's number of turns is not in the listing.
  """
  bundles = []  # Head of a loop, depth and, where it is tested, turns.
  for line in listing.splitlines():
    if found := _BUNDLE.match(line):
      depth = len(found.group(2)) or (bundles[-1][1] if bundles else 0)
      bundles.append([bool(found.group(1)), depth, 0])
    if found := _EXIT.search(line):
      bundles[-1][2] = int(found.group(1))
  heads = [
    i for i, (head, depth, _) in enumerate(bundles) if head and depth > 1
  ]
  executed = len(bundles)
  for head, following in zip(heads, [*heads[1:], len(bundles)]):
    inside = [i for i in range(head, following) if bundles[i][1] > 1]
    # A bundle marked as outside between two of these is passed each time.
    span = bundles[head : inside[-1] + 1]
    (turns,) = (n for _, _, n in span if n)
    executed += (turns - 1) * len(span)
  return executed


def write_assembler_reports(folder: str | pathlib.Path) -> None:
  """Lets Mosaic GPU write what `assembler_figures` reads, from now on."""
  os.environ["MOSAIC_GPU_DUMP_PTXAS"] = "1"
  os.environ["MOSAIC_GPU_DUMP_TO"] = str(folder)


def assembler_figures(folder: pathlib.Path) -> list[dict[str, str | int]]:
  """Kernel, registers a thread starts with, spills, memory; empties it."""

  def number(pattern, text):
    return int(re.search(pattern, text).group(1))

  lines = []
  for path in sorted(folder.glob("*.ptxas")):
    report = path.read_text()
    resources = path.with_suffix(".resources.txt").read_text()
    lines.append(
      {
        "kernel": re.sub(r"_\d+$", "", path.stem),
        "registers": number(r"Used (\d+) registers", report),
        "spilled_bytes": number(r"(\d+) bytes spill stores", report),
        "shared_bytes": number(r"smem_scratch_bytes=(\d+)", resources),
      }
    )
  for path in folder.iterdir():
    path.unlink()
  return lines
