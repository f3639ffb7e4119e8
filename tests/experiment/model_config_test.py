"""Fields of nested configurations."""

from more4d_jax.experiment import model_config
from more4d_jax.models import variants


def test_a_field_is_set_at_every_depth_and_nothing_else():
  before = variants.get("nano").strag
  after = model_config.replace_fields(before, dtype="bfloat16", remat="none")
  assert after.dit.layer.dtype == after.text.dtype == "bfloat16"
  assert model_config.replace_fields(after, dtype=before.text.dtype) != after
  assert model_config.replace_fields(before) == before
