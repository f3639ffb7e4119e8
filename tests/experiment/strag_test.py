"""What 4D-STraG is trained on and leaves."""

from data_pipelines.procedural import records
from more4d_jax.checkpoints import store
from more4d_jax.experiment import task as tasks
from tests.experiment import configurations


def test_speed_of_the_records_travels_with_the_network():
  record = records.make_record(1, records.RecordOptions(5, 32, 48))
  found = {"normalisation": {}, "latent_stats": {}}
  motion = store.Network("motion_vae", None, {}, found)
  opened = tasks.Opened([record], [record], below={"motion_vae": motion})
  metadata = configurations.task("strag").metadata(opened, {})
  assert metadata["fps"] == record.fps != 8


def test_encoders_are_trained_as_the_configuration_says():
  task = configurations.task("strag")
  assert "text_encoder/.*" in task.trainable
  frozen = {
    "model.train_text_encoder": False,
    "model.train_motion_encoder": False,
  }
  assert configurations.task("strag", **frozen).trainable == ["dit/.*"]
  without = configurations.task(
    "strag", **{"model.use_motion_perception": False}
  )
  assert "motion_encoder/.*" not in without.trainable
