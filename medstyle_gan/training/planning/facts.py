"""What a plan is made from: the facts of two collections, of a machine and of a step; no voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medstyle_gan.data.words import Domain
from medstyle_gan.networks.precision import Precision

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class CollectionFacts:
    """A collection in a few numbers; lengths are along R, A, S.

    Attributes:
        domain: `scan` or `style`.
        volumes: files.
        subjects: whose they are.
        pictures: whether they are PNG or JPEG, which have no millimetres.
        channels: 1, or 3 where any is in colour.
        hounsfield: whether the values look like CT's.
        voxels: median number of voxels.
        spacing: median voxel size (mm).
        body: 95th percentile of the body's extents (mm): what a sample must hold.
        typical_body: median of them (mm).
    """

    domain: Domain
    volumes: int
    subjects: int
    pictures: bool = False
    channels: int = 1
    hounsfield: bool = False
    voxels: Triple = (1.0, 1.0, 1.0)
    spacing: Triple = (1.0, 1.0, 1.0)
    body: Triple = (1.0, 1.0, 1.0)
    typical_body: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        device: `cpu` or `cuda`.
        name: the processor's or the GPU's.
        cores: logical cores that this process may use.
        memory: of the device (bytes).
        native_bf16: whether it multiplies bfloat16 natively.
        gflops: precision → measured rate of matrix products (GFLOP/s); empty if not measured.
    """

    device: Literal["cpu", "cuda"]
    name: str
    cores: int
    memory: float
    native_bf16: bool
    gflops: Mapping[Precision, float] = field(default_factory=dict)

    @property
    def has_gpu(self) -> bool:
        """Whether a GPU trains."""
        return self.device == "cuda"


@dataclass(frozen=True)
class StepCost:
    """What a training step takes.

    Attributes:
        operations: floating-point operations of all networks but the VGG-19.
        vgg_operations: what the VGG-19 adds to a step in which its terms act.
        memory: bytes, with every term on.
    """

    operations: float
    vgg_operations: float
    memory: float

    def mean_operations(self, every_n_steps: int) -> float:
        """Operations of a step where the VGG-19 acts every so many."""
        return self.operations + self.vgg_operations / every_n_steps
