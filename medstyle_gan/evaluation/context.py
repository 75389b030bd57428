"""What the chapters of an evaluation share beside the subjects: the model, its data, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medstyle_gan.config import Config
from medstyle_gan.config.network_sections import VGGConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.slices import to_slices
from medstyle_gan.evaluation.chapter import Array, Labels, Mask
from medstyle_gan.inference import Translator

if TYPE_CHECKING:
    from medstyle_gan.evaluation.visual_effect.reader_study import ReaderStudy


@dataclass(frozen=True)
class RealVolume:
    """A real volume of one domain on the network's grid, read when it is asked for.

    Attributes:
        subject: whose, as it is shown (`style subject 1` where names are kept private).
        spacing: voxel size along R, A, S (mm).
        load: gives the array (X, Y, Z) float32 in [-1, 1], axes R, A, S, by its own intensity
            scale, and its body, bool (X, Y, Z), not empty.
    """

    subject: str
    spacing: tuple[float, float, float]
    load: Callable[[], tuple[Array, Mask]]

    def slices(self, plane: str = "axial", body_only: bool = True) -> Array:
        """Its slices in one plane.

        Args:
            plane: `axial`, `coronal` or `sagittal`.
            body_only: leave out those that the body does not reach.

        Returns:
            (N, 1, H, W) float32 in [-1, 1], N at least 1.
        """
        array, mask = self.load()
        slices = to_slices(array[None], plane)
        if body_only:
            slices = slices[to_slices(mask[None], plane).any(axis=(1, 2, 3))]
        return np.ascontiguousarray(slices, dtype=np.float32)


@dataclass(frozen=True)
class EvaluationContext:
    """What a chapter may use.

    Attributes:
        config: The model's settings; of `data` its plane, dimensions and spacing.
        translator: The model; None where the candidates are functions, as in tests. Chapters
            call `candidates["translation"]` and use this for what no candidate can give: the
            other direction, gradients, uncertainty, the size of the networks.
        style: Real style volumes, one or more a subject, that references were fitted to and
            translations are compared with as a collection. Empty where there are none.
        scans: Real scans likewise: those evaluated, and no others.
        training_style: The style volumes that the model was trained on, where its run says
            where they are and they still are there; else empty.
        style_scale: The style collection's typical intensity scale, which gives translations their
            native units; None where there is none.
        hounsfield: Whether native style values are Hounsfield units.
        parameters: Direction → numbers that its generator learned; empty where unknown.
        vgg: Weights of the feature network.
        inception: A file of Inception-v3's weights, whose features then tell how real
            translations look, in place of VGG-19's; None for the latter.
        reader_study: What readers said of this model's translations; None where none were asked.
        segmenter: The user's frozen task: a volume (X, Y, Z) in the style's native units and its
            voxel size (mm) → labels (X, Y, Z), 0 being none; None where there is none.
        seed: Every random choice is keyed by it.
        quick: Draw less (a smaller budget), for a first look; the figures are rougher.
        workers: Processes that a chapter may use.
        metrics: Rows of the run's `metrics.csv` by step, columns without a value left out;
            empty where the model is no run.
        run_facts: The run's `run.yaml` as plain values; empty where the model is no run.
        mark: Write SYNTHETIC into translations in pictures.
    """

    config: Config
    translator: Translator | None = None
    style: Sequence[RealVolume] = ()
    scans: Sequence[RealVolume] = ()
    training_style: Sequence[RealVolume] = ()
    style_scale: FittedScale | None = None
    hounsfield: bool = False
    parameters: Mapping[str, int] = field(default_factory=dict)
    vgg: VGGConfig = field(default_factory=VGGConfig)
    inception: str | Path | None = None
    reader_study: ReaderStudy | None = None
    segmenter: Callable[[Array, tuple[float, float, float]], Labels] | None = None
    seed: int = 0
    quick: bool = False
    workers: int = 1
    metrics: Sequence[Mapping[str, float]] = ()
    run_facts: Mapping[str, object] = field(default_factory=dict)
    mark: bool = True

    def rng(self, *key: int) -> np.random.Generator:
        """A random generator for one purpose: the same seed and key give the same draws.

        Args:
            key: Whole numbers of 0 or more, such as a chapter's number and a subject's.
        """
        return np.random.default_rng([self.seed, *key])
