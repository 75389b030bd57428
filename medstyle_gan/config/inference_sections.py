"""Settings of translating and stylising: `inference` and `stylize`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medstyle_gan.config.base import PositiveInt, Section, Weight
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.highlight_section import HighlightConfig

Flip = Literal["left_right", "anterior_posterior", "superior_inferior"]


class StructureFields(Section):
    """Whether a result may have edges that the image it was made of has not."""

    structure: Literal["free", "preserved"] = Field(
        "free",
        description="preserved: the result is a local affine map of the image it is made of "
        "(guided filter), so that no edge is where that had none",
    )
    structure_floor: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="structure preserved: least correlation of the result's gradients with the "
        "image's, in each slice",
    )
    guide_radius: PositiveInt | None = Field(
        None,
        description="structure preserved: half side of the windows that the maps are fitted in "
        "(pixels; null: a sixteenth of the shorter side)",
    )
    guide_epsilon: float = Field(
        0.01,
        gt=0,
        description="structure preserved: variance of the image below which a window is flat "
        "([-1, 1] units squared)",
    )


class InferenceConfig(StructureFields):
    """How whole volumes are translated."""

    batch_size: PositiveInt = Field(
        8,
        description="slices at once (on a CPU no more than 256² pixels, but one; windows of a 3-D "
        "model go one by one)",
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
    cycle_spinning: bool = Field(
        False,
        description="half of the mirrored copies are moved by a voxel too, or without flips one "
        "more copy is: no pattern of the generator's own grid is left in the mean",
    )
    ema: bool = Field(True, description="use the generators' moving average")
    dtype: Literal["auto", "float32", "int16", "uint8"] = Field(
        "auto",
        description="output type; auto is float32, or int16 where the style has integers",
    )
    picture_output: Literal["nifti", "png"] = Field(
        "nifti", description="what a colour style gives: an RGB NIfTI or a stack of PNGs"
    )


class StylizeConfig(StructureFields):
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
    background: Literal["keep", "stylize"] = Field(
        "keep", description="what is done outside the body of a volume"
    )
    feather: float = Field(
        2.0, ge=0, description="width over which the style fades in at a mask's edge (pixels)"
    )
    highlight: HighlightConfig = Field(
        default_factory=HighlightConfig, description="a region that stays faithful"
    )
    dicom_output: Literal["nifti", "dicom"] = Field(
        "nifti",
        description="what a DICOM series becomes in a folder: NIfTI, or a derived series without "
        "the patient's text",
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
