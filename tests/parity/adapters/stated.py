"""What a folder's config.json says in sentences: numbers, signs, ordinals."""

import re

NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"

_ORDINALS = ("first", "second", "third", "fourth")


def numbers(pattern: str, text: str) -> tuple[float, ...]:
  """The numbers at each `#` of a pattern, in the order of the text.

  A `±` of the pattern stands for the sign of the number behind it, written
  apart from it: "± #" reads "- 2" as -2.

  Args:
    pattern: a regular expression with the two signs above.
    text: where it is searched for.

  Raises:
    ValueError: if the text does not hold it.
  """
  expression = pattern.replace("±", "([-+])").replace("#", f"({NUMBER})")
  found = re.search(expression, text)
  if found is None:
    raise ValueError(f"expected {pattern!r} in {text!r}")
  values, sign = [], 1.0
  for group in found.groups():
    if group in "+-":
      sign = float(f"{group}1")
    else:
      values.append(sign * float(group))
      sign = 1.0
  return tuple(values)


def sample(text: str) -> int:
  """Index of the sample that "the second sample" or "first sample" names."""
  found = re.search(rf"({'|'.join(_ORDINALS)}) sample", text)
  if found is None:
    raise ValueError(f"expected an ordinal before 'sample' in {text!r}")
  return _ORDINALS.index(found[1])


def padding(text: str) -> int:
  """Tokens that "seq_len = real tokens + 6 zero tokens" adds."""
  return int(numbers(r"real tokens \+ #", text)[0])
