"""The memory of a pass through a generator, foretold by one of tensors without data."""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medstyle_gan.inference.network.feature_maps import (
    ROWS_BYTES,
    FeatureMaps,
    FeatureMemory,
    watch_widest,
)
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.streaming import Walk, feature_memory_bytes

# Between two norms: maps before and after each layer, and a convolution's own copies of them.
_LAYERS_AT_ONCE = 12
# A convolution on a CPU lays its input and output out anew, and the allocator leaves gaps:
# measured 2.4 to 2.7 times what is alive (ResNets, ngf 32 and 64).
_LAID_OUT_ANEW = 3.0


def forward_bytes(network: Network, shape: tuple[int, ...]) -> int:
    """Estimate the memory that a batch takes on its way through a generator on a CPU.

    How many bytes of results are alive at once.

    Args:
        network: the generator and its arithmetic.
        shape: (B, C, *spatial) of the batch.
    """
    with _without_data(network) as generator:
        batch = torch.empty(shape)
        with _Alive() as alive:
            generator(batch)
    return int(_LAID_OUT_ANEW * alive.most + batch.nbytes)


def streamed_bytes(network: Network, shape: tuple[int, ...]) -> int:
    """Estimate the memory that `stream` takes on a CPU, beside the arrays that go in and out.

    That is of the feature maps what is alive at once, up to `inference.feature_memory`, beyond
    which they are in files; and the rows that are computed at once.

    Args:
        network: its generator can be streamed.
        shape: (1, C, X, Y, Z) or (N, C, H, W) of what goes through.
    """
    memory = _Foretold(torch.device("cpu"), feature_memory_bytes(network))
    axis = 2 if network.data.dims == 3 else 0
    with _without_data(network) as generator:
        maps = Walk(network, memory).through(generator, _Empty(shape, axis))
        memory.keep(maps)
    return memory.most + _LAYERS_AT_ONCE * memory.widest


def streaming_arrays(network: Network, shape: tuple[int, ...]) -> int:
    """The bytes of the arrays that go into `stream` and come out of it, and of their copies.

    Args:
        network: the generator.
        shape: (1, C, X, Y, Z) or (N, C, H, W) of what goes through.
    """
    given = network.out_channels * network.data.sample_slices
    # The samples, and padded twice; the answer, and where a stack is put together once more.
    answers = 1 if network.data.dims == 3 else 2
    return 4 * shape[0] * (3 * shape[1] + answers * given) * prod(shape[2:])


@contextmanager
def _without_data(network: Network) -> Iterator[nn.Module]:
    """The generator's like, whose tensors have no data, and the arithmetic of the network."""
    with warnings.catch_warnings(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        tensors = {id(p): _empty(p, mode) for p in _tensors(network.generator)}
        like = copy.deepcopy(network.generator, tensors)
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=network.precision == "bf16"),
        ):
            yield like


class _Empty(FeatureMaps):
    """Maps without data."""

    def __init__(self, shape: tuple[int, ...], axis: int, dtype: torch.dtype | None = None) -> None:
        self._shape, self.axis, self.rows, self._dtype = shape, axis, shape[axis], dtype

    def _rows(self, begin: int, end: int) -> Tensor:
        rows = end - begin
        return torch.empty(
            (*self._shape[: self.axis], rows, *self._shape[self.axis + 1 :]), dtype=self._dtype
        )


class _Foretold(FeatureMemory):
    """Keeps nothing, and counts what it would keep.

    Attributes:
        most: bytes in memory at once.
        widest: bytes of the rows that are computed at once.
    """

    most = 0
    widest = 0

    def keep(
        self, maps: FeatureMaps, look: Callable[[int, int, Tensor], None] | None = None
    ) -> FeatureMaps:
        """Compute one row, as like the others as its tensors without data are."""
        with watch_widest() as widest:
            piece = maps.read(0, 1)
        shape = (*piece.shape[: maps.axis], maps.rows, *piece.shape[maps.axis + 1 :])
        kept = _Empty(shape, maps.axis, piece.dtype)
        self._count(kept, piece.nbytes * maps.rows)
        self.widest = max(self.widest, min(widest.bytes * maps.rows, max(ROWS_BYTES, widest.bytes)))
        if look is not None:
            look(0, 1, piece)
        return kept

    def _count(self, kept: FeatureMaps, size: int) -> None:
        if self.used + size <= self._limit:
            self.used += size
            self.most = max(self.most, self.used)
            weakref.finalize(kept, self._release, size)


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
