"""The memory of a translation: foretold from headers, and kept to by the batch and the disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from medstyle_gan.data.resampling import Grid, ras_grid, working_grid
from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.data.words import Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.array_bytes import array_bytes
from medstyle_gan.inference.bundles.generators import generator_channels, untrained_generator
from medstyle_gan.inference.bundles.onnx_graphs import OnnxGenerator
from medstyle_gan.inference.network.body import is_streamed
from medstyle_gan.inference.network.foretelling import (
    forward_bytes,
    streamed_bytes,
    streaming_arrays,
)
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.padding import padded_size
from medstyle_gan.inference.network.planes import grids_seen
from medstyle_gan.inference.network.stacks import slices_at_once
from medstyle_gan.inference.outputs.job import Job
from medstyle_gan.inference.translator import Translator
from medstyle_gan.volumes import Volume, VolumeHeader, Workspace

_Foretell: TypeAlias = Callable[[Network, tuple[int, ...]], int]
GIBIBYTE = 2**30
# Python, torch, MONAI and Lightning, before anything is done.
_LIBRARIES = 0.85 * GIBIBYTE
# What a file at work takes for slabs and the coarse grid that its body is found on.
_SLABS = 0.25 * GIBIBYTE
# What the guided filter takes a pixel (float32 windows of a slice, its moments and mixtures).
_GUIDED_FILTER = 160


@dataclass(frozen=True)
class Estimate:
    """What the largest volume of several will take.

    Attributes:
        shape: of that volume.
        batch_size: how many go through the network at once.
        unit: of what: slices or windows.
        resident: bytes of memory.
        disk: bytes of temporary files beside its output.
        arrays: bytes that its arrays may take in memory.
    """

    shape: tuple[int, ...]
    batch_size: int
    unit: str
    resident: int
    disk: int
    arrays: int

    @property
    def total(self) -> int:
        """Bytes of memory and disk together."""
        return self.resident + self.disk

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        disk = "" if not self.disk else f" and {_gib(self.disk)} of temporary files in OUT"
        return (
            f"up to about {_gib(self.resident)} of memory{disk} (largest volume {size}, "
            f"{self.batch_size} {self.unit}{'s' if self.batch_size > 1 else ''} at once)"
        )


class MemoryPlan:
    """How each file is translated within a bound.

    Args:
        translator: the model.
        direction: which way.
        limit: bytes of resident memory.
        workers: files at work at once.
    """

    def __init__(
        self, translator: Translator, direction: Direction, limit: float, workers: int
    ) -> None:
        self.translator = translator
        self.direction = direction
        self.limit = limit
        self.workers = workers
        self._known: dict[tuple[Any, ...], int] = {}

    def of_all(self, jobs: Iterable[Job]) -> tuple[Estimate | None, list[str]]:
        """The estimate of the file that takes most of those that fit, and what does not fit.

        One file that is too large, or whose header claims to be, does not stop the others.

        Returns:
            The estimate, None where no header can be read or nothing fits; and a message for
            each file that does not fit.
        """
        largest: Estimate | None = None
        too_large: list[str] = []
        for job in jobs:
            if job.kind == "picture" or job.fault:
                continue
            try:
                header = job.header()
            except UserError:  # it fails later, with its reason
                continue
            try:
                estimate = self.of_volume(header, job.uncertainty is not None)
            except UserError as error:
                too_large.append(f"{job.input}: {error}")
                continue
            if largest is None or estimate.total > largest.total:
                largest = estimate
        return largest, too_large

    def of_volume(self, header: VolumeHeader | Volume, uncertainty: bool = False) -> Estimate:
        """How a volume is translated: as many slices at once as fit, its arrays where they do.

        Args:
            header: the volume's.
            uncertainty: whether its uncertainty is asked for.

        Raises:
            UserError: not even one slice at a time fits.
        """
        geometry, data = header.geometry, self.translator.config.data
        own = ras_grid(geometry.spatial_shape, np.asarray(geometry.affine, dtype=np.float64))
        working = working_grid(own, data.spacing)
        network = self.translator.network(self.direction)
        arrays = array_bytes(network, header, own, working, uncertainty)
        fixed = _LIBRARIES + self.workers * _SLABS + self._weights(uncertainty)
        if network.inference.structure == "preserved":
            voxels = prod(own.shape)  # the body, on both grids
            arrays += 4 * prod(working.shape) + (0 if own.same_as(working) else 4 * voxels)
            across = voxels // own.shape[stacked_axis(data.plane)]
            fixed += self.workers * across * _GUIDED_FILTER
        unit = "slice"
        if is_streamed(network):  # the whole at once, a few rows of each layer
            shapes = self._streamed_shapes(network, working)
            fixed += self.workers * max(streaming_arrays(network, shape) for shape in shapes)
            streamed = max(self._once(streamed_bytes, network, shape) for shape in shapes)
            unit, batches = "volume", {1: streamed}
        elif data.dims == 3:
            # Beside the body's part, MONAI keeps the sums of the windows and of their weights.
            sums = self.workers + 1 + 2 * network.out_channels
            fixed += 4 * prod(working.shape) * sums
            unit, batches = "window", {1: self.network_bytes(1, data.sample_size)}
        else:
            most = {size: slices_at_once(network, size) for _, size in _stacks(network, working)}
            batches = {
                batch: max(self.network_bytes(min(batch, n), size) for size, n in most.items())
                for batch in _batches(max(most.values()))
            }
        for batch, passing in batches.items():
            taken = fixed + (0 if self._on_gpu() else passing)
            left = self.limit - taken
            if left >= 0:
                kept = min(arrays, int(left / self.workers))
                return Estimate(
                    shape=tuple(geometry.shape),
                    batch_size=batch,
                    unit=unit,
                    resident=int(taken + self.workers * kept),
                    disk=self.workers * (arrays - kept),
                    arrays=kept,
                )
        raise UserError(
            f"--max-memory {self.limit / GIBIBYTE:g}: a volume of "
            f"{'x'.join(map(str, geometry.shape))} needs about "
            f"{_gib(ceil(taken))}, one {unit} at a time with --workers "
            f"{self.workers}; raise --max-memory"
            + (", lower --workers" if self.workers > 1 else "")
            + ", or use a model with a smaller generator"
        )

    def fitting(self, job: Job) -> tuple[Translator, Workspace]:
        """The translator with the batch that fits a volume, and where its arrays are made.

        Raises:
            UserError: the volume cannot be read, or does not fit.
        """
        estimate = self.of_volume(job.header(), job.uncertainty is not None)
        workspace = Workspace(job.output.parent, estimate.arrays)
        inference = self.translator.config.inference
        if estimate.batch_size == inference.batch_size:
            return self.translator, workspace
        changed = copy.copy(self.translator)
        smaller = inference.model_copy(update={"batch_size": estimate.batch_size})
        changed.config = changed.config.model_copy(update={"inference": smaller})
        return changed, workspace

    def network_bytes(self, batch: int, size: Sequence[int]) -> int:
        """What a batch takes in the generator."""
        network = self.translator.network(self.direction)
        if isinstance(network.generator, OnnxGenerator):  # tells nothing of what it makes inside
            config, channels = self.translator.config, self.translator.channels
            untrained = untrained_generator(config, channels, self.direction).eval()
            network = replace(network, generator=untrained)
        return self._once(forward_bytes, network, self._shape(batch, size))

    def _once(
        self,
        foretell: Callable[[Network, tuple[int, ...]], int],
        network: Network,
        shape: tuple[int, ...],
    ) -> int:
        key = (foretell, shape)
        if key not in self._known:
            self._known[key] = foretell(network, shape)
        return self._known[key]

    def _streamed_shapes(self, network: Network, working: Grid) -> list[tuple[int, ...]]:
        """What goes through at once: at most the whole volume, or all slices of a plane."""
        if network.data.dims == 3:
            return [self._shape(1, working.shape)]
        return [self._shape(count, size) for count, size in _stacks(network, working)]

    def _shape(self, batch: int, size: Sequence[int]) -> tuple[int, ...]:
        """(B, C, *spatial) of a batch as the generator takes it."""
        divisor = int(self.translator.generators[self.direction].divisor)  # type: ignore[arg-type]
        config = self.translator.config
        moved = [int(config.inference.cycle_spinning)] * len(size)
        padded = padded_size(size, config.data.sample_size, divisor, moved)
        taken, _ = generator_channels(config, self.translator.channels, self.direction)
        return (batch, taken, *padded)

    def _weights(self, uncertainty: bool) -> int:
        generators = list(self.translator.generators.values())
        if uncertainty:  # those of earlier checkpoints are there too
            generators += [n.generator for n in self.translator.networks(self.direction)[1:]]
        together = nn.ModuleList(generators)  # what two share, once
        return sum(t.nbytes for t in [*together.parameters(), *together.buffers()])

    def _on_gpu(self) -> bool:
        return self.translator.device.type != "cpu"


def _stacks(network: Network, working: Grid) -> list[tuple[int, tuple[int, ...]]]:
    """How many slices a network sees of each plane, and their size."""
    stacks = []
    for plane, grid in grids_seen(network, working).items():
        stacked = stacked_axis(plane)
        size = tuple(n for axis, n in enumerate(grid.shape) if axis != stacked)
        stacks.append((grid.shape[stacked], size))
    return stacks


def _batches(largest: int) -> list[int]:
    """The asked batch, then halves of it, down to one."""
    sizes = [largest]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return sizes


def _gib(count: float) -> str:
    return f"{count / GIBIBYTE:.1f} GiB"
