"""Generators as ONNX graphs: made of a bundle's weights, run by onnxruntime (extra `onnx`)."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle, Graph
from medstyle_gan.inference.bundles.generators import refuse_undirected, restore_generator
from medstyle_gan.networks.normalization import AdaptiveNorm
from medstyle_gan.networks.sizes import check_sizes

INPUT, OUTPUT = "image", "translation"
_AXES = ("height", "width", "depth")
_AGREEMENT = 1e-4  # of values in [-1, 1]


def with_graphs(bundle: Bundle) -> Bundle:
    """The same translator with ONNX graphs in place of its weights.

    Each direction takes any number of images, and any size that its network takes.

    Raises:
        UserError: where the extra `onnx` is missing, and for a model that translates nothing by
            itself.
        RuntimeError: where a graph does not compute what its network does.
    """
    refuse_undirected(bundle)
    graphs: dict[str, Graph] = {}
    for direction in bundle.directions:
        generator = restore_generator(bundle, direction)
        graphs[direction] = graph_of(generator, bundle.config.data.spatial_dims)
    return replace(bundle, state={}, graphs=graphs, weights_hash=bundle.hash)


def graph_of(generator: nn.Module, dims: int) -> Graph:
    """The graph of a generator, for any number of images of any size that it takes.

    Args:
        generator: in evaluation mode, on the CPU.
        dims: 2 or 3 spatial dimensions.

    Raises:
        UserError: where the extra `onnx` is missing.
        RuntimeError: where the graph does not compute what the generator does.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _import(package)
    from torch.export import Dim

    divisor, minimum = int(generator.divisor), int(generator.minimum_size)  # type: ignore[arg-type]
    least = -(-minimum // divisor)
    # No size twice, and none the least: the exporter takes equal sizes for one and 1 for fixed.
    sizes = [divisor * (least + 1 + axis) for axis in range(dims)]
    images = torch.zeros(2, _in_channels(generator), *sizes)
    axes = {
        0: Dim("batch", min=1),
        **{2 + axis: divisor * Dim(_AXES[axis], min=least) for axis in range(dims)},
    }
    with torch.no_grad(), _quietly():
        program: Any = torch.onnx.export(
            _with_exact_norms(generator),
            (images,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
    model = _without_source(program.model_proto)
    parameters = sum(tensor.numel() for tensor in generator.state_dict().values())
    graph = Graph(model.SerializeToString(), divisor, minimum, parameters)
    _refuse_disagreement(generator, graph, dims)
    return graph


class OnnxGenerator(nn.Module):
    """A graph in the place of a generator: the same call, sizes and values, in fp32.

    It can be copied and pickled: the copy opens a session of its own when it is first called.

    Args:
        graph: the generator.
        device: `cpu`, or `cuda` where onnxruntime can use it.

    Attributes:
        divisor: spatial sizes must be multiples of this.
        minimum_size: smallest spatial size.

    Raises:
        UserError: where onnxruntime is missing, or cannot use the device.
    """

    def __init__(self, graph: Graph, device: str = "cpu") -> None:
        super().__init__()
        self.divisor, self.minimum_size = graph.divisor, graph.minimum_size
        self._graph = graph
        self._device = device
        self._session = _open_session(graph.model, device)

    def forward(self, x: Tensor) -> Tensor:
        """Translate `(B, in_channels, *spatial)` in [-1, 1]; fp32, on the input's device.

        Raises:
            UserError: for sizes that are not multiples of `divisor` or below `minimum_size`.
        """
        check_sizes(x, self.divisor, self.minimum_size)
        if self._session is None:
            self._session = _open_session(self._graph.model, self._device)
        images = np.ascontiguousarray(x.detach().float().cpu().numpy())
        (translation,) = self._session.run([OUTPUT], {INPUT: images})
        return torch.from_numpy(translation).to(x.device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # a session cannot be pickled


def _open_session(model: bytes, device: str) -> Any:
    runtime = _import("onnxruntime")
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider not in runtime.get_available_providers():
        raise UserError(
            f"device {device!r}: this onnxruntime computes on the CPU only; take cpu, or install "
            "onnxruntime-gpu in its place"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors
    return runtime.InferenceSession(model, options, providers=[provider])


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise UserError(
            f"ONNX models need the package {name}, which is not installed; "
            "pip install 'medstyle-gan[onnx]'"
        ) from error


class _ExactNorm(AdaptiveNorm, nn.Module):
    """Instance norm that gives 0, exactly, where a channel is the same everywhere.

    As torch's does. onnxruntime's leaves the rounding of the mean, divides it by the square root
    of eps, and after some layers an empty slice is full of noise.
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(
        self, input: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """See `AdaptiveNorm`."""
        spatial = tuple(range(2, input.ndim))
        first = input[:, :, :1, :1] if input.ndim == 4 else input[:, :, :1, :1, :1]
        centred = input - first
        centred = centred - centred.mean(spatial, keepdim=True)
        variance = centred.square().mean(spatial, keepdim=True)
        normalized = centred / torch.sqrt(variance + self.eps)
        if scale is not None:
            normalized = normalized * scale.view(-1, *[1] * len(spatial))
        return normalized if shift is None else normalized + shift.view(-1, *[1] * len(spatial))


def _with_exact_norms(generator: nn.Module) -> nn.Module:
    copied = copy.deepcopy(generator)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.InstanceNorm2d | nn.InstanceNorm3d):
                setattr(parent, name, _ExactNorm(child.eps))
    return copied


def _in_channels(generator: nn.Module) -> int:
    kernel = next(p for p in generator.parameters() if p.ndim > 2)
    return int(kernel.shape[1])


def _without_source(model: Any) -> Any:
    """An ONNX model without the lines of source that it was traced at, and their paths."""
    for graph in (model.graph, *model.functions):
        for part in (graph, *graph.node, *graph.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    return model


def _refuse_disagreement(generator: nn.Module, graph: Graph, dims: int) -> None:
    least = -(-graph.minimum_size // graph.divisor)
    sizes = [graph.divisor * (least + axis % 2) for axis in range(dims)]
    numbers = torch.Generator().manual_seed(0)
    images = torch.rand(1, _in_channels(generator), *sizes, generator=numbers) * 2 - 1
    with torch.no_grad():
        difference = float((OnnxGenerator(graph)(images) - generator(images)).abs().max())
    if not difference <= _AGREEMENT:
        raise RuntimeError(
            f"the ONNX graph differs from its network by {difference:.2g} (allowed "
            f"{_AGREEMENT:.0e}); try other versions of torch, onnxscript and onnxruntime"
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's remarks on its own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
