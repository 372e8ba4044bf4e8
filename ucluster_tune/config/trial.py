"""The typed, frozen configuration of one training; every default is the published recipe.

Sources: the network and its losses from arXiv:2010.07106 (UCluster) and arXiv:2001.05311 (ABCNet),
constants from the published code. Knows nothing of files, TensorFlow, Ray or Optuna.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from ucluster_tune.config.names import is_remote_name, zenodo_number
from ucluster_tune.config.section import Rule, Section

ClassName = Literal["g", "q", "w", "z", "t"]
Width = Annotated[int, Field(ge=1, le=4096)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _path_is_sound(path: str) -> str | None:
    if "\0" in path:
        return "must not hold a NUL character"
    if is_remote_name(path) and zenodo_number(path) is None:
        return (
            "must be a folder, a URI such as s3://BUCKET/FOLDER, HDF5 files or a Zenodo record"
            f" such as 10.5281/zenodo.3602254, got {path}"
        )
    return None


def _mass_window(mass_min_gev: float, mass_max_gev: float) -> str | None:
    if mass_min_gev < mass_max_gev:
        return None
    return f"must be below mass_max_gev ({mass_max_gev}), got {mass_min_gev}"


def _classes_differ(classes: Sequence[str] | None) -> str | None:
    if classes is None or len(set(classes)) == len(classes):
        return None
    return f"must not repeat a class, got {list(classes)}"


def _clustering_phase(n_pretraining_epochs: int, n_epochs: int) -> str | None:
    if n_pretraining_epochs < n_epochs:
        return None
    return (
        f"must be below n_epochs ({n_epochs}), or no clustering epoch is left,"
        f" got {n_pretraining_epochs}"
    )


def _a_whole_batch(n_jets: int | None, global_batch_size: int) -> str | None:
    if n_jets is None or n_jets >= global_batch_size:
        return None
    return f"must be at least global_batch_size ({global_batch_size}), got {n_jets}"


def _floor_below(start: str) -> Callable[[float, float], str | None]:
    def message(floor: float, value: float) -> str | None:
        if floor <= value:
            return None
        return f"is a floor and must not exceed {start} ({value}), got {floor}"

    return message


class DataConfig(Section):
    """Which jets are read, and the selection made on them."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("path", ("path",), _path_is_sound),
        Rule("mass_min_gev", ("mass_min_gev", "mass_max_gev"), _mass_window),
        Rule("classes", ("classes",), _classes_differ),
    )

    path: str = Field(
        min_length=1,
        description="folder or URI of a parquet data set, HLS4ML HDF5 files, or a Zenodo record",
    )
    mass_min_gev: NonNegativeFloat = Field(10.0, description="jets at or below are left out")
    mass_max_gev: PositiveFloat = Field(200.0, description="jets at or above are left out")
    classes: tuple[ClassName, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="classes to keep; null keeps all that the data set has",
    )
    shuffle_buffer_jets: int = Field(
        200_000,
        ge=2,
        le=10**9,
        description="jets that a worker holds in memory; where it has more to read, they are"
        " streamed and shuffled among so many",
    )


class ModelConfig(Section):
    """Shape of ABCnet-UCluster."""

    n_clusters: int = Field(3, ge=2, le=64, description="clusters, one centroid each")
    n_neighbors: int = Field(
        10, ge=2, le=100, description="k of both neighbour searches, the constituent included"
    )
    embedding_dim: int = Field(3, ge=1, le=256, description="dimension of the embedding")
    n_mass_bins: int = Field(
        20, ge=2, le=200, description="pretraining targets: edges linspace(0, mass_bin_max_gev, n)"
    )
    mass_bin_max_gev: PositiveFloat = Field(
        200.0, description="upper edge of the mass bins; the last bin takes all jets above"
    )
    first_attention_width: Width = Field(16, description="channels of the first attention block")
    first_widths: tuple[Width, Width] = Field(
        (64, 128), strict=False, description="the two convolutions after the first attention block"
    )
    second_attention_width: Width = Field(128, description="channels of the second block")
    second_widths: tuple[Width, Width] = Field(
        (256, 256),
        strict=False,
        description="the two convolutions after the second attention block",
    )
    head_widths: tuple[Width, Width] = Field(
        (256, 128), strict=False, description="dense layers of the pretraining head"
    )
    batch_norm_epsilon: PositiveFloat = Field(1e-3, description="added to the variance")
    padding_distance: PositiveFloat = Field(
        1000.0, description="added to the first squared distance for each padded end"
    )
    # Beyond the published recipe, all off; see docs/model.md.
    synchronized_batch_norm: bool = Field(
        False, description="batch-norm moments of all workers' jets, not of each worker's own"
    )
    mask_padding_in_pool: bool = Field(
        False, description="the embedding is the mean over real constituents, not over 100"
    )
    mask_padding_in_neighbors: bool = Field(
        False, description="the second search takes padding only where real ones run out"
    )
    n_attention_heads: int = Field(1, ge=1, le=16, description="heads of both attention blocks")
    width_factor: float = Field(
        1.0, gt=0, le=16, description="factor of all widths: attention, convolutions and head"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of channels left out before embedding and mass bins"
    )
    head: Literal["mass_bins", "classes"] = Field(
        "mass_bins",
        description="what the head tells of a jet: its mass bin, or, with labels, its class, which"
        " is then its cluster",
    )

    def scaled(self, width: int) -> int:
        """Return a width times `width_factor`, at least 1."""
        return max(1, round(width * self.width_factor))


class LossConfig(Section):
    """Focal loss on the mass bin and k-means loss on the embedding."""

    focal_weight: NonNegativeFloat = Field(1.0, description="weight of the focal loss")
    focal_scale: PositiveFloat = Field(10.0, description="factor inside the focal loss")
    focal_gamma: NonNegativeFloat = Field(4.0, description="exponent of (1 - p)")
    focal_epsilon: PositiveFloat = Field(1e-9, description="added to p before the logarithm")
    clustering_weight: NonNegativeFloat = Field(
        10.0, description="beta: weight of the k-means loss in the clustering phase"
    )
    inverse_temperature_start: PositiveFloat = Field(
        4.0, description="alpha in the first clustering epoch"
    )
    inverse_temperature_step: NonNegativeFloat = Field(
        2.0, description="added to alpha in each further epoch"
    )
    # Beyond the published recipe, all off; see docs/model.md.
    centroid_separation_weight: NonNegativeFloat = Field(
        0.0, description="weight of a loss that pushes centroids apart, in the clustering phase"
    )
    centroid_separation_length: PositiveFloat = Field(
        1.0, description="distance over which centroids push each other"
    )
    mass_bin_smoothing: Fraction = Field(
        0.0, description="share of the target spread evenly over all mass bins"
    )


# The focal loss without its focus; nothing pulls the embedding into clusters.
CROSS_ENTROPY: Final = LossConfig(focal_scale=1.0, focal_gamma=0.0, clustering_weight=0.0)


class TrainingConfig(Section):
    """Phases, batches, optimizer and schedules. Durations are epochs or jets, never steps."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("n_pretraining_epochs", ("n_pretraining_epochs", "n_epochs"), _clustering_phase),
        Rule("n_jets", ("n_jets", "global_batch_size"), _a_whole_batch),
        Rule(
            "learning_rate_min",
            ("learning_rate_min", "learning_rate"),
            _floor_below("learning_rate"),
        ),
        Rule(
            "batch_norm_momentum_min",
            ("batch_norm_momentum_min", "batch_norm_momentum"),
            _floor_below("batch_norm_momentum"),
        ),
    )

    n_epochs: int = Field(200, ge=2, le=100_000, description="epochs of both phases together")
    n_pretraining_epochs: int = Field(
        21, ge=1, le=100_000, description="epochs of the focal loss alone"
    )
    n_jets: int | None = Field(
        None,
        ge=2,
        description="training jets: a fixed part of the data set, the same for all trials; null:"
        " all",
    )
    global_batch_size: int = Field(512, ge=2, le=1_000_000, description="jets a step, all workers")
    learning_rate: PositiveFloat = Field(1e-3, description="at the start")
    learning_rate_decay: float = Field(
        0.5, gt=0, le=1, description="factor after each learning_rate_decay_jets"
    )
    learning_rate_decay_jets: int = Field(
        500_000, ge=1, le=10**12, description="jets between two steps down"
    )
    learning_rate_min: NonNegativeFloat = Field(1e-5, description="floor of the learning rate")
    learning_rate_schedule: Literal["step", "cosine", "constant"] = Field(
        "step", description="step as published; cosine falls to the floor at the last epoch"
    )
    learning_rate_warmup_jets: int = Field(
        0, ge=0, le=10**12, description="jets over which the rate grows from zero"
    )
    adam_beta_1: Fraction = Field(0.9, description="decay of Adam's first moment")
    adam_beta_2: Fraction = Field(0.999, description="decay of Adam's second moment")
    adam_epsilon: PositiveFloat = Field(1e-8, description="outside the bias correction")
    batch_norm_momentum: float = Field(
        0.5, gt=0, le=1, description="averages move by this share at the start"
    )
    batch_norm_momentum_decay: float = Field(
        0.5, gt=0, le=1, description="its factor after each batch_norm_decay_jets"
    )
    batch_norm_decay_jets: int = Field(
        500_000, ge=1, le=10**12, description="jets between two steps down"
    )
    batch_norm_momentum_min: float = Field(0.01, gt=0, le=1, description="its floor")
    kmeans_n_init: int = Field(10, ge=1, le=1000, description="starts of the k-means, best kept")
    evaluation_batch_size: int = Field(
        512, ge=2, le=1_000_000, description="jets in a batch of the batched accuracy"
    )
    seed: int = Field(1, ge=0, le=2**31 - 1, description="weights, shuffling and k-means")


class TrialConfig(Section):
    """All that one training needs: what a trial runs and what `train` runs."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def acting_loss(self) -> LossConfig:
        """The losses that act: the cross-entropy alone where the head is trained with labels."""
        return self.loss if self.model.head == "mass_bins" else CROSS_ENTROPY
