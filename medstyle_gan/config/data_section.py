"""Settings of the two collections and the way from files to samples: `data`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from medstyle_gan.config.base import Dims, PositiveInt, Probability, Section, listed


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
    labels: str = Field(
        "labels", description="file of integer regions, scored apart by evaluate (optional)"
    )
    lesions: str = Field("lesions", description="file of the lesions' mask (optional)")


class PairsConfig(Section):
    """Registered pairs for scoring; they never reach training."""

    folder: str | None = Field(None, description="folder with one subfolder a subject")
    names: PairNames = Field(default_factory=PairNames, description="file names in a subfolder")


class AugmentationConfig(Section):
    """Random changes of each sample, in both domains by the same rules but for `gamma`."""

    flip: Probability = Field(0.5, description="probability of a left-right flip")
    affine: Probability = Field(0.5, description="probability of a random affine")
    rotation: float = Field(
        8.0, ge=0, le=180, description="largest rotation (degrees; dims 3: about each axis)"
    )
    scaling: float = Field(0.08, ge=0, lt=1, description="largest relative change of size")
    translation: float = Field(
        0.04, ge=0, lt=1, description="largest shift (share of the sample size)"
    )
    gamma: float = Field(
        0.0,
        ge=0,
        le=2,
        description="largest logarithm of the exponent that a scan's intensities, from 0 to 1, are "
        "raised to; style images stay as they are (0: none; where units mean something, as in CT, "
        "leave it)",
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
        description="draw the style slice from the same height of the body, told by the areas of "
        "its sections (dims 3: the patch), or anywhere",
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
    pairing: Literal["none", "subject"] = Field(
        "none",
        description="subject: scans and style volumes of one subject are pairs to learn from, "
        "aligned roughly by their files' positions (mm); data.pairs are others, for scoring",
    )
    subject_pattern: str = Field(
        r"(sub-[A-Za-z0-9]+|patient\d+)",
        description="regular expression whose first group, in the path, names the subject",
    )
    validation_fraction: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of each collection's subjects held out for validation "
        "(null: 0.2, or 0 where pairs are given to validate on, which validate better)",
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
            raise ValueError(f"must be positive (mm), not {listed(spacing)}")
        # With one axis at each volume's own size, anatomy would differ in shape between them.
        if info.data.get("dims") == 3 and 0 < spacing.count(None) < 3:
            raise ValueError(
                "must be three voxel sizes where data.dims is 3, such as [1, 1, 1], or three "
                f"nulls for each volume's own grid, not {listed(spacing)}"
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
                f"{listed((256, 256) if dims != 3 else (64, 64, 64))}, not {listed(size)}"
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
