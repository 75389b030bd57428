"""The memory of a translation: foretold from headers, and kept to by the batch and the disk."""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medstyle_gan.data.resampling import ras_grid, working_grid
from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.generators import generator_channels, untrained_generator
from medstyle_gan.inference.bundles.onnx_graphs import OnnxGenerator
from medstyle_gan.inference.network.body import is_streamed
from medstyle_gan.inference.network.streaming import streamed_bytes
from medstyle_gan.inference.outputs.job import Job
from medstyle_gan.inference.translator import Translator
from medstyle_gan.networks.precision import Precision
from medstyle_gan.volumes import Volume, VolumeHeader, Workspace

GIBIBYTE = 2**30
# Python, torch, MONAI and Lightning, before anything is done.
_LIBRARIES = 0.85 * GIBIBYTE
# What a file at work takes for slabs and the coarse grid that its body is found on.
_SLABS = 0.25 * GIBIBYTE
# A convolution on a CPU lays its input and output out anew, and the allocator leaves gaps:
# measured 2.4 to 2.7 times what is alive (ResNets, ngf 32 and 64).
_LAID_OUT_ANEW = 3.0


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

    def of_all(self, jobs: Iterable[Job]) -> Estimate | None:
        """The estimate of the file that takes most; None where no header can be read.

        Raises:
            UserError: a file does not fit.
        """
        largest: Estimate | None = None
        for job in jobs:
            if job.kind == "picture":
                continue
            try:
                header = job.header()
            except UserError:  # it fails later, with its reason
                continue
            estimate = self.of_volume(header, job.uncertainty is not None)
            if largest is None or estimate.total > largest.total:
                largest = estimate
        return largest

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
        channels = self.translator.channels[DOMAINS[self.direction][1]]
        voxels, worked = prod(own.shape), prod(working.shape)
        resampled = 0 if own.same_as(working) else 4 * channels * voxels
        # As read, prepared, mask, translation, put back, and as written.
        arrays = (
            voxels * (header.dtype.itemsize if header.integer else 8)
            + worked * (4 + 1 + 4 * channels)
            + resampled
            + 4 * channels * voxels
        )
        if uncertainty:
            # One translation, the mean and the deviation of all, and that in native units.
            arrays += worked * (3 * 4 * channels + 4) + (4 * voxels if resampled else 0)
        fixed = _LIBRARIES + self.workers * _SLABS + self._weights(uncertainty)
        if data.dims == 3:
            # MONAI keeps the padded volume, the sum of the windows and that of their weights.
            fixed += 4 * worked * (2 + 2 * channels)
            slice_shape: tuple[int, ...] = tuple(data.sample_size)
            batches = [1]
        else:
            stacked = stacked_axis(data.plane)
            slice_shape = tuple(n for axis, n in enumerate(working.shape) if axis != stacked)
            batches = _batches(self.translator.config.inference.batch_size)
        for batch in batches:
            network = 0 if self._on_gpu() else self._network_bytes(batch, slice_shape)
            left = self.limit - fixed - network
            if left >= 0:
                kept = min(arrays, int(left / self.workers))
                return Estimate(
                    shape=tuple(geometry.shape),
                    batch_size=batch,
                    unit="window" if data.dims == 3 else "slice",
                    resident=int(fixed + network + self.workers * kept),
                    disk=self.workers * (arrays - kept),
                    arrays=kept,
                )
        raise UserError(
            f"--max-memory {self.limit / GIBIBYTE:g}: a volume of "
            f"{'x'.join(map(str, geometry.shape))} needs about "
            f"{_gib(ceil(fixed + network))}, one slice at a time with --workers "
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

    def _network_bytes(self, batch: int, size: Sequence[int]) -> int:
        network = self.translator.network(self.direction)
        return streamed_bytes(network) if is_streamed(network) else self.network_bytes(batch, size)

    def network_bytes(self, batch: int, size: Sequence[int]) -> int:
        """What a batch takes in the generator."""
        divisor = int(self.translator.generators[self.direction].divisor)  # type: ignore[arg-type]
        data = self.translator.config.data
        padded = tuple(
            max(ceil(max(n, s) / divisor), 2) * divisor
            for n, s in zip(size, data.sample_size, strict=True)
        )
        key = (batch, padded)
        if key not in self._known:
            config, channels = self.translator.config, self.translator.channels
            taken, _ = generator_channels(config, channels, self.direction)
            generator = self.translator.generators[self.direction]
            if isinstance(generator, OnnxGenerator):  # tells nothing of what it makes inside
                generator = untrained_generator(config, channels, self.direction)
            self._known[key] = forward_bytes(
                generator.eval(),
                (batch, taken, *padded),
                self.translator.precision,
            )
        return self._known[key]

    def _weights(self, uncertainty: bool) -> int:
        generators = list(self.translator.generators.values())
        if uncertainty:  # those of earlier checkpoints are there too
            generators += [n.generator for n in self.translator.networks(self.direction)[1:]]
        return sum(t.nbytes for t in _tensors(nn.ModuleList(generators)))  # what is shared, once

    def _on_gpu(self) -> bool:
        return self.translator.device.type != "cpu"


def forward_bytes(generator: nn.Module, shape: Sequence[int], precision: Precision) -> int:
    """Estimate the memory that a batch takes on its way through a generator on a CPU.

    A pass of tensors without data tells how many bytes of results are alive at once.

    Args:
        generator: in evaluation mode.
        shape: (B, C, *spatial) of the batch.
        precision: its arithmetic.
    """
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        like = copy.deepcopy(generator, {id(p): _empty(p, mode) for p in _tensors(generator)})
        batch = torch.empty(tuple(shape))
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
            _Alive() as alive,
        ):
            like(batch)
    return int(_LAID_OUT_ANEW * alive.most + batch.nbytes)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def _empty(tensor: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    fake = mode.from_tensor(tensor.detach())
    return nn.Parameter(fake, requires_grad=False) if isinstance(tensor, nn.Parameter) else fake


class _Alive(TorchDispatchMode):
    """Counts the bytes of results that are alive, and the most there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
        self.most = max(self.most, self._now)
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        count = storage.nbytes()
        self._seen.add(key)
        self._now += count
        weakref.finalize(storage, self._forget, key, count)

    def _forget(self, key: int, count: int) -> None:
        self._seen.discard(key)
        self._now -= count


def _batches(largest: int) -> list[int]:
    """The asked batch, then halves of it, down to one."""
    sizes = [largest]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return sizes


def _gib(count: float) -> str:
    return f"{count / GIBIBYTE:.1f} GiB"
