"""Settings of the training, its guards and its log: `training`, `guards`, `logging`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from medstyle_gan.config.base import PositiveInt, Probability, Section, Weight
from medstyle_gan.config.durations import seconds_in
from medstyle_gan.config.inpainting_section import InpaintingStartConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig

AnyStartConfig = WarmStartConfig | InpaintingStartConfig


class TrainingConfig(Section):
    """How long, on what, and what is kept."""

    steps: PositiveInt = Field(20_000, description="steps (batches through the method)")
    warm_start: Annotated[AnyStartConfig, Field(discriminator="name")] = Field(
        default_factory=WarmStartConfig,
        description="the first steps: on roughly registered scans of other subjects, or on images "
        "with holes",
    )
    batch_size: PositiveInt = Field(
        1, description="samples of each domain that are in memory at once, a device"
    )
    accumulate: PositiveInt = Field(
        1,
        description="batches whose gradients a step adds up: as one of accumulate x batch_size "
        "samples, in the memory of batch_size",
    )
    # Below what NumPy takes as a seed, and small enough to be shifted into 64-bit keys.
    seed: int = Field(0, ge=0, le=2**31 - 1, description="seed of every random choice")
    accelerator: Literal["auto", "cpu", "gpu"] = Field("auto", description="where to train")
    devices: PositiveInt = Field(1, description="processes or GPUs, on each node")
    nodes: PositiveInt = Field(1, description="machines, started by torchrun or srun")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto takes bf16 where the hardware has it"
    )
    compile: bool = Field(
        False,
        description="compile the networks (torch.compile): steps take about 0.9 of the time, and "
        "the first ones, on a CPU, up to a minute more; needs a C++ compiler",
    )
    validate_every: PositiveInt = Field(1_000, description="steps between validations")
    validate_on: Literal["auto", "pairs", "unpaired"] = Field(
        "auto",
        description="what chooses the best checkpoint: auto takes pairs where they are given, else "
        "held-out scans registered to style volumes of others where a warm start is on such, else "
        "style and structure of held-out subjects; unpaired takes these two anyway, the last of "
        "all subjects where none are held out, and pairs are only told",
    )
    checkpoint_every: PositiveInt = Field(500, description="steps between checkpoints")
    keep_checkpoints: PositiveInt = Field(
        3, description="regular checkpoints to keep, besides the one with the best score"
    )
    max_time: str | None = Field(
        None,
        description="stop with a checkpoint after this long (90m, 12h, 3d, HH:MM:SS or "
        "D-HH:MM:SS, from the command's start; null: no limit)",
    )

    @field_validator("warm_start", mode="before")
    @classmethod
    def _of_the_only_kind_once(cls, given: object) -> object:
        """Models and checkpoints from before there were two kinds hold no name."""
        return {"name": "registered", **given} if isinstance(given, Mapping) else given

    @field_validator("warm_start")
    @classmethod
    def _within_the_training(
        cls, warm_start: AnyStartConfig, info: ValidationInfo
    ) -> AnyStartConfig:
        steps = info.data.get("steps")  # absent where it has mistakes of its own
        if steps is not None and warm_start.steps > steps:
            raise ValueError(
                f"the warm start's {warm_start.steps} steps are some of training.steps, which is "
                f"{steps}; set training.warm_start.steps to {steps} or less"
            )
        return warm_start

    @field_validator("max_time")
    @classmethod
    def _length_of_time(cls, text: str | None) -> str | None:
        if text is not None:
            seconds_in(text)
        return text

    @property
    def world_size(self) -> int:
        """Processes of the training, over all machines."""
        return self.devices * self.nodes

    @property
    def global_batch_size(self) -> int:
        """Samples of each domain in a step, over all processes."""
        return self.process_batch_size * self.world_size

    @property
    def process_batch_size(self) -> int:
        """Samples of each domain that a process sees in a step."""
        return self.batch_size * self.accumulate


class GuardsConfig(Section):
    """What a training left alone is watched for; each guard warns once.

    The defaults were set by trainings that went well, on phantoms and real scans: their
    generators moved intensities by 0.41 of the input's contrast or more, the rank correlation
    was 0.67 or more where contrast keeps its order, and the discriminators' advantage lay
    between 0.06 and 0.39.
    """

    enabled: bool = Field(
        True, description="look at translations and discriminators; non-finite steps always count"
    )
    check_every: PositiveInt = Field(250, description="steps between looks")
    warm_up: Probability = Field(
        0.25, description="share of the steps in which nothing but a non-finite step is warned of"
    )
    patience: PositiveInt = Field(3, description="looks in a row that must agree for a warning")
    skipped_in_a_row: PositiveInt = Field(
        20,
        description="steps without a finite loss and gradient, in a row, that end the training; "
        "counted as often",
    )
    movement: Weight = Field(
        0.2,
        description="identity collapse: a generator changes its input by less than this share of "
        "the input's own contrast, though the domains' intensities differ by more",
    )
    contrast_order: Literal["keeps", "may_change"] = Field(
        "may_change",
        description="whether what is brighter must stay brighter: harmonisation keeps the order, "
        "T1 to T2 may change it",
    )
    discriminator_won: float = Field(
        0.9,
        description="a discriminator wins where its advantage is above this (1: tells all "
        "translations from real images)",
    )
    discriminator_gave_up: float = Field(
        0.01, description="a discriminator has given up where its advantage is below this (0: none)"
    )


class LoggingConfig(Section):
    """What is written while training."""

    wandb: Literal["off", "offline", "online"] = Field(
        "off", description="Weights & Biases: nothing, a local run, or sent as it goes"
    )
    project: str = Field("medstyle_gan", description="Weights & Biases project")
    run_name: str | None = Field(None, description="Weights & Biases run name (null: chosen)")
    upload_model: bool = Field(
        False, description="log the trained model to Weights & Biases as an artefact"
    )
    log_every: PositiveInt = Field(50, description="steps between rows of metrics")
    panel_every: PositiveInt = Field(500, description="steps between sample panels")
    panel_samples: PositiveInt = Field(4, description="rows of a panel, fixed for the run")
    mark: bool = Field(
        True,
        description="write SYNTHETIC into what the networks made, in sample panels and the "
        "demo's picture",
    )
