"""The memory of a training step: foretold before the first one, and explained when it is out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import METHODS, TrainedMethod
from medstyle_gan.methods.batch_facts import NOTHING
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks import VGG19Features, parameters_of
from medstyle_gan.networks.precision import Precision
from medstyle_gan.networks.resnet import ResidualBlock

_GIBIBYTE = 2.0**30
# Of the memory there is: the rest is Python, libraries, and what a convolution works in.
USABLE = 0.85
# What torch's CPU allocator says; its GPU one has an exception of its own.
_CPU_MESSAGES = ("can't allocate memory", "not enough memory")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def step_bytes(config: Config, channels: dict[str, int], precision: Precision) -> int:
    """Estimate the memory of a training step with every term on, without taking any.

    A dry forward pass of tensors without data adds up what autograd keeps for the backward
    pass; weights, gradients, Adam's two moments, the moving average and the image pools are
    added. Not in it: the libraries, and what a single layer works in.

    Args:
        config: all settings.
        channels: domain → channels of its images.
        precision: arithmetic of the networks.

    Returns:
        Bytes on each device.
    """
    size = config.data.sample_size
    shapes = {d: (config.training.batch_size, c, *size) for d, c in channels.items()}
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # held, so that no address comes twice
        return tensor

    def keep_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        keep(inputs[0])

    random = torch.get_rng_state()
    try:
        with FakeTensorMode(), warnings.catch_warnings():
            # Copying tensors without data for the moving average, torch warns of their address.
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            method = dry_method(config, channels)
            if getattr(config.generator, "checkpoint_activations", False):
                for module in method.modules():
                    if isinstance(module, ResidualBlock):  # autograd's hooks see nothing kept
                        module.register_forward_pre_hook(keep_input)
            weights = parameters_of(method.trained_networks().values())
            for tensor in [*weights, *method.buffers()]:
                keep(tensor)
            real = {domain: torch.empty(shape) for domain, shape in shapes.items()}
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            ):
                terms, translated = method.generator_terms(real)
                terms |= method.structure(0, real, translated)
                terms |= method.registration_terms(real, translated, NOTHING)
                judged = method.discriminator_terms(real, translated)
                total = sum(term.value for term in (terms | judged).values())
            saved = sum(storage.nbytes() for storage in kept.values())
            del total
            averaged = parameters_of(method.generators.values())
            pooled = sum(
                pool.size * real[domain][0].nbytes for domain, pool in method.pools.items()
            )
            return int(saved + 3 * _nbytes(weights) + _nbytes(averaged) + pooled)
    finally:
        torch.set_rng_state(random)


def describe_step(
    config: Config, channels: dict[str, int], precision: Precision, device: torch.device
) -> str:
    """One line on what a step will need and what there is."""
    needed, there = step_bytes(config, channels, precision), memory_bytes(device)
    line = f"a step needs about {_gib(needed)} of {_gib(there)}"
    if needed > USABLE * there:
        line += "; that may not fit" + _ways_out(config, channels, precision, needed, there)
    return line


@contextmanager
def explaining_out_of_memory(
    config: Config, channels: dict[str, int], precision: Precision, device: torch.device
) -> Iterator[None]:
    """Turn running out of memory into one message with settings that would fit.

    Raises:
        UserError: instead of torch's and Python's errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        needed, there = step_bytes(config, channels, precision), memory_bytes(device)
        raise UserError(
            f"out of memory: a step needs about {_gib(needed)}, the {device.type} has "
            f"{_gib(there)}; the last checkpoint stays"
            + _ways_out(config, channels, precision, needed, there)
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is a lack of memory, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(m in str(error) for m in _CPU_MESSAGES)


def memory_bytes(device: torch.device) -> int:
    """Memory of a GPU, or that of this machine or of the container it is."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.exists() else "max"
    return min(there, int(limit)) if limit.isdecimal() else there


def settings_that_save(config: Config) -> list[dict[str, Any]]:
    """Changes that make a step smaller, gentlest first, as dotted names → values."""
    training, generator = config.training, config.generator
    again: dict[str, Any] = {}
    if getattr(generator, "checkpoint_activations", True) is False:
        again = {"generator.checkpoint_activations": True}
    ways: list[dict[str, Any]] = [again] if again else []
    halved: list[dict[str, Any]] = []
    batch, accumulate = training.batch_size, training.accumulate
    while batch % 2 == 0:
        batch, accumulate = batch // 2, accumulate * 2
        halved.append({"training.batch_size": batch, "training.accumulate": accumulate})
    ways += halved
    smallest = halved[-1] if halved else {}
    if again and smallest:
        ways.append(again | smallest)
    for parts in (6, 4, 3, 2):
        size = [max(side * parts // 8 // 32 * 32, 32) for side in config.data.sample_size]
        smaller = all(new < old for new, old in zip(size, config.data.sample_size, strict=True))
        if smaller and min(size) >= (config.vgg.crop or 0):
            ways.append({"data.sample_size": size})
            if again or smallest:
                ways.append({"data.sample_size": size} | again | smallest)
    return ways


def _ways_out(
    config: Config, channels: dict[str, int], precision: Precision, now: int, there: int
) -> str:
    """Up to three changes whose steps would fit where one of `now` bytes does not, in words."""
    limit = min(USABLE * there, 0.95 * now)
    lines: list[str] = []
    for way in settings_that_save(config):
        then = step_bytes(_changed(config, way), channels, precision)
        if then <= limit:
            shown = " ".join(f"{name}={_yaml(value)}" for name, value in way.items())
            lines.append(f"\n  {shown}  (about {_gib(then)})")
        if len(lines) == 3:
            break
    if not lines:
        return "; no setting known to us fits: take smaller networks (generator.ngf)"
    return "; these would fit, in a new run:" + "".join(lines)


def _yaml(value: Any) -> str:
    return str(value).lower().replace(" ", "")


def _changed(config: Config, way: dict[str, Any]) -> Config:
    tree = config.model_dump()
    for name, value in way.items():
        section, field = name.split(".")
        tree[section][field] = value
    return Config.model_validate(tree)


def dry_method(config: Config, channels: dict[str, int]) -> TrainedMethod:
    """The method with its VGG-19 terms, whichever their targets are."""
    # How large a body is depends on the samples: count all of them.
    whole = {
        name: getattr(config.loss, name).model_copy(update={"region": "sample"})
        for name in ("structure", "contrastive")
    }
    loss = config.loss.model_copy(update=whole)
    config = config.model_copy(update={"loss": loss})
    kind = METHODS[config.method.name]
    layers = kind.layers(config.loss)
    regularizer = None
    if layers:
        style = config.loss.style.model_copy(update={"target": "batch"})
        loss = config.loss.model_copy(update={"style": style})
        vgg = VGG19Features("random:0", layers)
        regularizer = VGGRegularizer(
            vgg, loss, views=Views(config.vgg, slices=config.data.sample_slices)
        )
    method: TrainedMethod = kind(config, channels["scan"], channels["style"], regularizer)
    return method


def _nbytes(tensors: list[nn.Parameter]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _gib(count: float) -> str:
    gibibytes = count / _GIBIBYTE
    return f"{gibibytes:.2g} GiB" if gibibytes < 10 else f"{gibibytes:.0f} GiB"
