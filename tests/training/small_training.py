"""A training of seconds: narrow layers on a few made-up jets."""

from pathlib import Path
from typing import Any

from ucluster_tune.config.trial import DataConfig, ModelConfig, TrainingConfig, TrialConfig
from ucluster_tune.data.reading.dataset import open_dataset
from ucluster_tune.training.checkpoint import Checkpoint, checkpoint_contents
from ucluster_tune.training.group import Group
from ucluster_tune.training.record import EpochRecord
from ucluster_tune.training.trainer import Trainer

MODEL = ModelConfig(
    n_neighbors=3,
    first_attention_width=4,
    first_widths=(4, 6),
    second_attention_width=4,
    second_widths=(6, 6),
    head_widths=(6, 6),
)
TIMES = ("seconds", "jets_per_second")


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(checkpoint_contents(checkpoint))


def small_config(
    folder: Path | str, shuffle_buffer_jets: int = 1000, **training: Any
) -> TrialConfig:
    values = {"n_epochs": 4, "n_pretraining_epochs": 2, "global_batch_size": 24, **training}
    return TrialConfig(
        data=DataConfig(path=str(folder), shuffle_buffer_jets=shuffle_buffer_jets),
        model=MODEL,
        training=TrainingConfig(**values),
    )


def make_trainer(config: TrialConfig, group: Group) -> Trainer:
    return Trainer(config, open_dataset(config.data), group)


def train(trainer: Trainer, n_epochs: int) -> tuple[list[EpochRecord], list[Checkpoint]]:
    """Run epochs; returns the record and the checkpoint of each."""
    records, checkpoints = [], []
    for _ in range(n_epochs):
        records.append(trainer.run_epoch())
        checkpoints.append(trainer.checkpoint())
    return records, checkpoints


def without_times(record: EpochRecord) -> dict[str, Any]:
    return {key: value for key, value in record.as_values().items() if key not in TIMES}
