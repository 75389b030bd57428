"""Every setting of the product as pydantic models: the one source for YAML, CLI and docs.

Imports neither torch nor numpy, so that `medstyle COMMAND --help` stays fast.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from medstyle_gan.config.durations import seconds_in

Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


def _known_dims(dims: object) -> object:
    if isinstance(dims, bool) or dims not in (2, 2.5, 3):
        shown = f"{dims:g}" if isinstance(dims, float) else dims
        raise ValueError(f"must be one of 2, 2.5, 3, not {shown}")
    return 2.5 if dims == 2.5 else int(dims)


Dims = Annotated[int | float, BeforeValidator(_known_dims)]


def _listed(values: tuple[float | None, ...]) -> str:
    """A list as it is given in YAML."""
    return f"[{', '.join('null' if v is None else f'{v:g}' for v in values)}]"


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes, and values cannot change later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


# ---------------------------------------------------------------------------------- data


class PercentileScale(Section):
    """Each volume's own percentiles become -1 and 1."""

    name: Literal["percentile"] = "percentile"
    lower: float = Field(0.5, ge=0, lt=100, description="percentile that becomes -1 (%)")
    upper: float = Field(99.5, gt=0, le=100, description="percentile that becomes 1 (%)")
    region: Literal["volume", "foreground"] = Field(
        "volume", description="voxels that the percentiles are taken over"
    )
    clip: bool = Field(True, description="clip to [-1, 1]; false makes the scale invertible")

    @model_validator(mode="after")
    def _ordered(self) -> PercentileScale:
        if self.lower >= self.upper:
            raise ValueError(f"lower ({self.lower}) must be below upper ({self.upper})")
        return self


class WindowScale(Section):
    """A radiological window, the same for every volume: level ± width/2 become ±1."""

    name: Literal["window"] = "window"
    level: float = Field(0.0, description="centre of the window (native units, HU for CT)")
    width: float = Field(2000.0, gt=0, description="full width of the window (native units)")
    clip: bool = Field(True, description="clip to [-1, 1]; false makes the scale invertible")


class ZScoreScale(Section):
    """Each volume's mean ± `deviations` standard deviations become ±1."""

    name: Literal["zscore"] = "zscore"
    deviations: float = Field(3.0, gt=0, description="standard deviations that become 1")
    region: Literal["volume", "foreground"] = Field(
        "foreground", description="voxels that mean and deviation are taken over"
    )
    clip: bool = Field(True, description="clip to [-1, 1]; false makes the scale invertible")


class FixedScale(Section):
    """The same native bounds for every volume become -1 and 1."""

    name: Literal["fixed"] = "fixed"
    lower: float = Field(0.0, description="native value that becomes -1")
    upper: float = Field(255.0, description="native value that becomes 1")
    clip: bool = Field(True, description="clip to [-1, 1]; false makes the scale invertible")

    @model_validator(mode="after")
    def _ordered(self) -> FixedScale:
        if self.lower >= self.upper:
            raise ValueError(f"lower ({self.lower}) must be below upper ({self.upper})")
        return self


IntensityScaleConfig = Annotated[
    PercentileScale | WindowScale | ZScoreScale | FixedScale, Field(discriminator="name")
]


class IntensityConfig(Section):
    """The intensity scale of each domain."""

    scan: IntensityScaleConfig = Field(
        default_factory=PercentileScale, description="scale of the scans"
    )
    style: IntensityScaleConfig = Field(
        default_factory=PercentileScale,
        description="scale of style volumes (pictures always use fixed, from their bit depth)",
    )


class PairNames(Section):
    """File names (with or without suffix) of each role inside a pair's subfolder."""

    scan: str = Field("scan", description="file of the scan")
    style: str = Field("style", description="file of the true style volume, on the scan's grid")
    mask: str = Field("mask", description="file of the mask (optional in the folder)")


class PairsConfig(Section):
    """Registered pairs for scoring; they never reach training."""

    folder: str | None = Field(None, description="folder with one subfolder a subject")
    names: PairNames = Field(default_factory=PairNames, description="file names in a subfolder")


class AugmentationConfig(Section):
    """Random changes of each sample, by the same rules in both domains."""

    flip: Probability = Field(0.5, description="probability of a left-right flip")
    affine: Probability = Field(0.5, description="probability of a random affine")
    rotation: float = Field(
        8.0, ge=0, le=180, description="largest rotation (degrees; dims 3: about each axis)"
    )
    scaling: float = Field(0.08, ge=0, lt=1, description="largest relative change of size")
    translation: float = Field(
        0.04, ge=0, lt=1, description="largest shift (share of the sample size)"
    )
    crop: Literal["center", "random"] = Field(
        "center",
        description="which part of a slice larger than the sample is used (dims 2; patches are "
        "drawn by data.sampler)",
    )


class SamplerConfig(Section):
    """How scan and style samples are drawn."""

    match: Literal["position", "none"] = Field(
        "position",
        description="draw the style slice from the same relative height of the body (dims 3: the "
        "patch from the same relative place), or anywhere",
    )
    foreground: Probability = Field(
        0.8,
        description="0 draws slices (dims 3: patches) evenly, 1 in proportion to their foreground",
    )
    subject_balanced: bool = Field(
        True, description="draw subjects evenly, however many volumes each has"
    )


class CacheConfig(Section):
    """Where preprocessed volumes are kept."""

    folder: str | None = Field(
        None, description="cache folder (null: ~/.cache/medstyle_gan, or $MEDSTYLE_CACHE)"
    )
    memory_map: bool = Field(
        True, description="read slices or patches from disk on demand instead of loading volumes"
    )


Plane = Literal["axial", "coronal", "sagittal"]


class DataConfig(Section):
    """The two collections and the way from files to samples."""

    scans: str | list[str] | None = Field(
        None, description="scan collection: folder, glob, .txt/.csv list or .json datalist"
    )
    style: str | list[str] | None = Field(
        None, description="style collection: folder, glob, .txt/.csv list or .json datalist"
    )
    pairs: PairsConfig = Field(default_factory=PairsConfig, description="pairs for scoring")
    subject_pattern: str = Field(
        r"(sub-[A-Za-z0-9]+|patient\d+)",
        description="regular expression whose first group, in the path, names the subject",
    )
    validation_fraction: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of each collection's subjects held out for validation "
        "(null: 0.2, or 0 where pairs are given, which validate better)",
    )
    dims: Dims = Field(
        2,
        description="dimensions of a sample: 2 = slices, 2.5 = slices with their neighbours as "
        "channels, 3 = patches of volumes",
    )
    neighbours: PositiveInt = Field(
        1, description="neighbouring slices on each side of a sample's own (dims 2.5)"
    )
    plane: Plane = Field("axial", description="plane that slices are taken in (dims 2 and 2.5)")
    spacing: tuple[float | None, float | None, float | None] = Field(
        (1.0, 1.0, None),
        description="voxel size along R, A, S (mm); null keeps each volume's own (dims 3: three "
        "sizes, or three nulls)",
    )
    sample_size: tuple[PositiveInt, ...] = Field(
        (256, 256),
        description="size of a sample: two numbers for slices (pixels), three for patches (voxels "
        "along R, A, S)",
    )
    intensity: IntensityConfig = Field(
        default_factory=IntensityConfig, description="native units to [-1, 1] and back"
    )
    augmentation: AugmentationConfig = Field(
        default_factory=AugmentationConfig, description="random changes of each sample"
    )
    sampler: SamplerConfig = Field(default_factory=SamplerConfig, description="drawing samples")
    cache: CacheConfig = Field(default_factory=CacheConfig, description="preprocessed volumes")
    workers: int = Field(0, ge=0, description="loader processes (0: in the training process)")

    @property
    def spatial_dims(self) -> int:
        """Spatial dimensions of a sample: 2, or 3 for patches."""
        return int(self.dims)

    @property
    def sample_slices(self) -> int:
        """Slices that a sample has as channels, its own in the middle; 1 but for dims 2.5."""
        return 2 * self.neighbours + 1 if self.dims == 2.5 else 1

    @model_validator(mode="after")
    def _pattern_with_a_group(self) -> DataConfig:
        try:
            groups = re.compile(self.subject_pattern).groups
        except re.error as error:
            raise ValueError(f"subject_pattern is no regular expression: {error}") from None
        if groups == 0:
            raise ValueError("subject_pattern needs a group: put the subject's part in (…)")
        return self

    @field_validator("plane")
    @classmethod
    def _plane_of_slices(cls, plane: str, info: ValidationInfo) -> str:
        if info.data.get("dims") == 3 and plane != "axial":
            raise ValueError(f"{plane} is a plane of slices, and data.dims is 3; leave it at axial")
        return plane

    @field_validator("spacing")
    @classmethod
    def _spacing_of_samples(
        cls, spacing: tuple[float | None, ...], info: ValidationInfo
    ) -> tuple[float | None, ...]:
        if any(s is not None and s <= 0 for s in spacing):
            raise ValueError(f"must be positive (mm), not {_listed(spacing)}")
        # With one axis at each volume's own size, anatomy would differ in shape between them.
        if info.data.get("dims") == 3 and 0 < spacing.count(None) < 3:
            raise ValueError(
                "must be three voxel sizes where data.dims is 3, such as [1, 1, 1], or three "
                f"nulls for each volume's own grid, not {_listed(spacing)}"
            )
        return spacing

    @field_validator("sample_size")
    @classmethod
    def _size_of_samples(cls, size: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        dims = info.data.get("dims")
        if dims is not None and len(size) != int(dims):
            wanted = "two numbers" if dims != 3 else "three numbers (along R, A, S)"
            raise ValueError(
                f"must be {wanted} where data.dims is {dims}, such as "
                f"{_listed((256, 256) if dims != 3 else (64, 64, 64))}, not {_listed(size)}"
            )
        return size

    @field_validator("augmentation")
    @classmethod
    def _crop_of_slices(
        cls, augmentation: AugmentationConfig, info: ValidationInfo
    ) -> AugmentationConfig:
        if info.data.get("dims") == 3 and augmentation.crop != "center":
            raise ValueError(
                "crop is of slices, and data.dims is 3, where data.sampler draws patches from all "
                "of the body already; leave it at center"
            )
        return augmentation


# ------------------------------------------------------------------- method and networks


class CycleGANConfig(Section):
    """CycleGAN (Zhu et al. 2017)."""

    name: Literal["cyclegan"] = "cyclegan"
    generator_learning_rate: float = Field(2e-4, gt=0, description="Adam's, both generators")
    discriminator_learning_rate: float = Field(
        2e-4, gt=0, description="Adam's, both discriminators"
    )
    betas: tuple[Probability, Probability] = Field((0.5, 0.999), description="Adam's betas")
    constant_fraction: Probability = Field(
        0.5, description="share of the steps before the learning rates fall linearly to 0"
    )
    pool_size: int = Field(50, ge=0, description="past translations shown to discriminators")
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="generators' moving average per step (0: none)"
    )
    gradient_clip: float = Field(
        0.0, ge=0, description="largest gradient norm, for each optimiser (0: no limit)"
    )


class GatysConfig(Section):
    """The picture itself is optimised (Gatys et al. 2016); for `medstyle stylize`."""

    name: Literal["gatys"] = "gatys"
    steps: PositiveInt = Field(300, description="iterations, at each scale")
    optimizer: Literal["lbfgs", "adam"] = Field(
        "lbfgs", description="lbfgs (with a strong Wolfe line search) or adam"
    )
    learning_rate: float | None = Field(
        None, gt=0, description="first step of a line search, or Adam's (null: 1, or 0.02)"
    )
    history: PositiveInt = Field(100, description="steps that lbfgs remembers")
    init: Literal["content", "noise", "style"] = Field(
        "content", description="the picture that the first scale begins from"
    )
    pooling: Literal["max", "average"] = Field(
        "max", description="the VGG-19's own pooling, or the smoother one of Gatys et al."
    )
    scales: int = Field(
        1, ge=1, le=8, description="resolutions, coarse to fine, each half of the one after"
    )
    tolerance: Weight = Field(
        1e-3,
        description="converged where `patience` iterations lower the loss by less than this share "
        "of it (0: all steps are done)",
    )
    patience: PositiveInt = Field(20, description="iterations that convergence is judged over")
    tile: int | None = Field(
        None,
        ge=32,
        description="side of the tiles that a picture larger than memory is seen in, with the "
        "losses and gradients of the whole (pixels; null: all at once)",
    )
    features: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of the VGG-19; Gram matrices and losses are always fp32"
    )


class ResNetGeneratorConfig(Section):
    """ResNet generator (Johnson et al. 2016, as used by CycleGAN)."""

    name: Literal["resnet"] = "resnet"
    ngf: PositiveInt = Field(64, description="channels of the first layer")
    blocks: PositiveInt = Field(9, description="residual blocks (the papers' 6 or 9)")
    upsampling: Literal["transpose", "resize"] = Field(
        "resize", description="transposed convolution, or resize then convolution"
    )
    checkpoint_activations: bool = Field(
        False,
        description="compute the residual blocks again in the backward pass instead of keeping "
        "what is in them: less memory, about a fifth more time",
    )


class UNetGeneratorConfig(Section):
    """U-Net generator (MONAI's)."""

    name: Literal["unet"] = "unet"
    ngf: PositiveInt = Field(64, description="channels of the first level")
    levels: int = Field(4, ge=2, le=8, description="resolutions, each half of the one before")


class PatchGANConfig(Section):
    """PatchGAN discriminator (Isola et al. 2017); three layers see 70x70 pixels."""

    name: Literal["patchgan"] = "patchgan"
    ndf: PositiveInt = Field(64, description="channels of the first layer")
    layers: PositiveInt = Field(3, description="strided layers: 1, 2, 3 see 16, 34, 70 pixels")
    scales: int = Field(1, ge=1, le=4, description="discriminators, each at half the size before")
    spectral_norm: bool = Field(False, description="spectral normalisation of each convolution")


# ---------------------------------------------------------------------------------- losses


class AdversarialLossConfig(Section):
    """The game between generators and discriminators."""

    name: Literal["least_squares", "hinge", "vanilla", "wgan_gp"] = Field(
        "least_squares", description="form of the game"
    )
    weight: Weight = Field(1.0, description="weight in the generators' loss")
    gradient_penalty: Weight = Field(10.0, description="penalty weight, wgan_gp only")


class WeightedLossConfig(Section):
    """A loss with nothing to set but its weight."""

    weight: Weight = Field(0.0, description="weight; 0 switches the term off, at no cost")


class PerceptualLossConfig(Section):
    """VGG-19 content distance from a scan to its translation and its reconstruction.

    At the default weights each of the two gives about a twentieth of a generator's gradient
    (seeded random VGG-19, phantoms, after the first hundred steps).
    """

    weight: Weight = Field(0.02, description="weight between an image and its translation")
    reconstruction_weight: Weight = Field(
        0.02, description="weight between an image and its reconstruction"
    )
    layers: tuple[str, ...] = Field(("relu4_2",), description="VGG-19 layers")
    every_n_steps: PositiveInt = Field(4, description="steps between applications")


class StyleLossConfig(Section):
    """VGG-19 Gram-matrix distance from a translation to its style.

    Gram matrices are divided by C·H·W, which makes them small: at the default weight the term
    gives a few hundredths of a generator's gradient (measured as for the perceptual term).
    """

    weight: Weight = Field(5_000.0, description="weight; 0 switches the term off, at no cost")
    layers: tuple[str, ...] = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), description="VGG-19 layers"
    )
    layer_weights: tuple[Weight, ...] | None = Field(
        None, description="weights of the layers, in their order (null: equal ones that sum to 1)"
    )
    target: Literal["batch", "collection"] = Field(
        "collection", description="the sample drawn, or the mean Gram of the collection"
    )
    every_n_steps: PositiveInt = Field(4, description="steps between applications")

    @model_validator(mode="after")
    def _a_weight_for_each_layer(self) -> StyleLossConfig:
        weights = self.layer_weights
        if weights is not None and len(weights) != len(self.layers):
            raise ValueError(
                f"layer_weights has {len(weights)} weights for {len(self.layers)} layers; give one "
                "for each of layers"
            )
        if weights is not None and self.weight and not sum(weights):
            raise ValueError(
                "layer_weights sum to 0, so nothing is left of the style; set one above 0, or "
                "weight to 0 where none is wanted"
            )
        return self


def _cycle() -> WeightedLossConfig:
    return WeightedLossConfig(weight=10.0)


def _identity() -> WeightedLossConfig:
    return WeightedLossConfig(weight=5.0)


class LossConfig(Section):
    """All terms of the generators' loss, with absolute weights."""

    adversarial: AdversarialLossConfig = Field(
        default_factory=AdversarialLossConfig, description="realism"
    )
    cycle: WeightedLossConfig = Field(
        default_factory=_cycle, description="L1 between an image and its reconstruction"
    )
    identity: WeightedLossConfig = Field(
        default_factory=_identity,
        description="L1 between an image and itself through the generator into its own domain",
    )
    perceptual: PerceptualLossConfig = Field(
        default_factory=PerceptualLossConfig, description="VGG-19 content distance"
    )
    style: StyleLossConfig = Field(
        default_factory=StyleLossConfig, description="VGG-19 Gram distance"
    )
    total_variation: WeightedLossConfig = Field(
        default_factory=WeightedLossConfig, description="roughness of the translations"
    )
    continuity: WeightedLossConfig = Field(
        default_factory=WeightedLossConfig,
        description="between slices of a volume: mean square of how far what a slice's style adds "
        "to it is from what its neighbour's did (gatys only)",
    )


# Optimising a picture has no other terms to be in balance with: these are the usual weights.
_OF_ITS_OWN = {
    "gatys": {
        "perceptual": PerceptualLossConfig(weight=1.0),
        "style": StyleLossConfig(weight=1e6),
    }
}


def _loss_of_the_method(validated: dict[str, Any]) -> LossConfig:
    method = validated.get("method")  # absent where it has mistakes of its own
    return LossConfig(**_OF_ITS_OWN.get(getattr(method, "name", ""), {}))


class VGGConfig(Section):
    """The frozen VGG-19 that perceptual and style losses look through."""

    weights: str = Field(
        "imagenet", description="imagenet (downloaded once), a file's path, or random:SEED"
    )
    crop: PositiveInt | None = Field(
        None,
        description="side of a random square that it sees of each image, the same of an image, its "
        "translation and its reconstruction (pixels; null: all of it)",
    )
    scale: float = Field(
        1.0, gt=0, le=1, description="reduction of what it sees (1: full resolution)"
    )
    slices: PositiveInt = Field(
        3, description="random slices that it sees of each 3-D sample, the planes in turn"
    )


# -------------------------------------------------------------------------------- training


class TrainingConfig(Section):
    """How long, on what, and what is kept."""

    steps: PositiveInt = Field(20_000, description="steps (batches through the method)")
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
    checkpoint_every: PositiveInt = Field(500, description="steps between checkpoints")
    keep_checkpoints: PositiveInt = Field(
        3, description="regular checkpoints to keep, besides the one with the best score"
    )
    max_time: str | None = Field(
        None,
        description="stop with a checkpoint after this long (90m, 12h, 3d, HH:MM:SS or "
        "D-HH:MM:SS, from the command's start; null: no limit)",
    )

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


Flip = Literal["left_right", "anterior_posterior", "superior_inferior"]


class InferenceConfig(Section):
    """How whole volumes are translated."""

    batch_size: PositiveInt = Field(
        8, description="slices at once (windows of a 3-D model go one by one)"
    )
    statistics: Literal["auto", "volume", "window"] = Field(
        "auto",
        description="what a 3-D model's instance norms see: the whole body, without seams, or each "
        "window; auto is volume where all layers of the network are known (ours are)",
    )
    feature_memory: float = Field(
        2.0,
        gt=0,
        description="feature maps kept in memory where a volume goes through a network as a whole "
        "(GiB); more of them go to temporary files (TMPDIR)",
    )
    planes: Literal[1, 3] = Field(
        1,
        description="planes that a 2-D network goes through a volume in: the one of its training, "
        "or axial, coronal and sagittal ones, fused",
    )
    fusion: Literal["mean", "median"] = Field(
        "mean", description="what is taken of the translations along three planes (planes 3)"
    )
    slice_statistics: int = Field(
        0,
        ge=0,
        description="slices on each side that a slice shares the statistics of its instance norms "
        "with, against flicker from slice to slice (dims 2 and 2.5; 0: none)",
    )
    flips: tuple[Flip, ...] = Field(
        (), description="axes that the volume is also mirrored along; the mean is taken"
    )
    ema: bool = Field(True, description="use the generators' moving average")
    dtype: Literal["auto", "float32", "int16", "uint8"] = Field(
        "auto",
        description="output type; auto is float32, or int16 where the style has integers",
    )
    picture_output: Literal["nifti", "png"] = Field(
        "nifti", description="what a colour style gives: an RGB NIfTI or a stack of PNGs"
    )


class StylizeConfig(Section):
    """What is done around a style transfer, whatever its method (`medstyle stylize`)."""

    size: int | None = Field(
        None,
        ge=16,
        description="longest side of the content while it is stylised; the result has the "
        "content's own size (pixels; null: its own)",
    )
    style_size: float = Field(
        1.0, gt=0, le=8, description="longest side of a style picture, relative to the content's"
    )
    style_weights: tuple[Weight, ...] | None = Field(
        None, description="shares of several styles, in their order (null: equal ones)"
    )
    style_slices: PositiveInt = Field(
        5, description="slices of a style volume that are its style, evenly over its body"
    )
    keep: Literal["nothing", "luminance", "colour"] = Field(
        "nothing", description="what the result has from the content as it was"
    )
    colour: Literal["auto", "grey", "rgb"] = Field(
        "auto", description="what the result is; auto is grey where content and styles all are"
    )
    structure: Literal["free", "preserved"] = Field(
        "free",
        description="preserved: the result is a local affine map of the content (guided filter), "
        "so that no edge is where the content had none",
    )
    structure_floor: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="structure preserved: least correlation of the result's gradients with the "
        "content's",
    )
    guide_radius: PositiveInt | None = Field(
        None,
        description="structure preserved: half side of the windows that the maps are fitted in "
        "(pixels; null: a sixteenth of the shorter side)",
    )
    guide_epsilon: float = Field(
        0.01,
        gt=0,
        description="structure preserved: variance of the content below which a window is flat "
        "([-1, 1] units squared)",
    )
    background: Literal["keep", "stylize"] = Field(
        "keep", description="what is done outside the body of a volume"
    )
    feather: float = Field(
        2.0, ge=0, description="width over which the style fades in at a mask's edge (pixels)"
    )


def path_fault(inference: InferenceConfig, data: DataConfig) -> str | None:
    """What of `inference` a network of `data.dims` cannot do, or None."""
    for name, neutral in (("planes", 1), ("slice_statistics", 0)):
        if data.dims == 3 and getattr(inference, name) != neutral:
            return (
                f"inference.{name} is for networks of slices, and data.dims is 3; leave it at "
                f"{neutral}"
            )
    return None


class Config(Section):
    """All settings of one run."""

    data: DataConfig = Field(default_factory=DataConfig, description="collections and samples")
    method: Annotated[CycleGANConfig | GatysConfig, Field(discriminator="name")] = Field(
        default_factory=CycleGANConfig,
        description="how a translator is learned (train), or a picture optimised (stylize)",
    )
    generator: Annotated[
        ResNetGeneratorConfig | UNetGeneratorConfig, Field(discriminator="name")
    ] = Field(default_factory=ResNetGeneratorConfig, description="both generators")
    discriminator: PatchGANConfig = Field(
        default_factory=PatchGANConfig, description="both discriminators"
    )
    loss: LossConfig = Field(default_factory=_loss_of_the_method, description="terms and weights")
    vgg: VGGConfig = Field(default_factory=VGGConfig, description="the frozen VGG-19")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="the training")
    guards: GuardsConfig = Field(default_factory=GuardsConfig, description="what is watched for")
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description="what is written")
    inference: InferenceConfig = Field(default_factory=InferenceConfig, description="whole volumes")
    stylize: StylizeConfig = Field(
        default_factory=StylizeConfig, description="around a style transfer"
    )

    @field_validator("inference")
    @classmethod
    def _paths_of_slices(cls, inference: InferenceConfig, info: ValidationInfo) -> InferenceConfig:
        data = info.data.get("data")  # absent where it has mistakes of its own
        fault = None if data is None else path_fault(inference, data)
        if fault:
            raise ValueError(fault)
        return inference

    @field_validator("vgg")
    @classmethod
    def _crop_within_the_samples(cls, vgg: VGGConfig, info: ValidationInfo) -> VGGConfig:
        data = info.data.get("data")  # absent where it has mistakes of its own
        if vgg.crop is not None and data is not None and vgg.crop > min(data.sample_size):
            size = "x".join(map(str, data.sample_size))
            raise ValueError(
                f"vgg.crop {vgg.crop} is larger than data.sample_size {size}; set vgg.crop to "
                f"{min(data.sample_size)} or less, or null"
            )
        return vgg


def default_config(method: object = None) -> Config:
    """The defaults of a method, which may have loss weights of its own.

    Args:
        method: its name; those of another or none are the first method's.
    """
    models = {model.model_fields["name"].default: model for model in (CycleGANConfig, GatysConfig)}
    model = models.get(method) if isinstance(method, str) else None
    return Config() if model is None else Config(method=model())
