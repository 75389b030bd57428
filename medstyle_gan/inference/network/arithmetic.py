"""The arithmetic that generators translate in: the device, the precision, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from medstyle_gan.errors import UserError
from medstyle_gan.networks.precision import Precision

_ONE_AT_A_TIME = threading.RLock()


def resolve_device(name: str) -> torch.device:
    """The device that a name means; `auto` is a GPU where there is one.

    Raises:
        UserError: where this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); "
            "choose auto, cpu or cuda"
        ) from error
    return device


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """How generators compute in translation: without gradients, in a precision.

    On a GPU with the same result each time, and in fp32 that is not silently TF32. One thread
    at a time: the flags are the process's, and so is the memory.
    """
    with (
        _ONE_AT_A_TIME,
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield


def refuse_diverged(translated: np.ndarray) -> None:
    """Refuse what no trained generator gives.

    Raises:
        UserError: NaN or infinity are in it.
    """
    if not np.isfinite(translated).all():
        raise UserError(
            "the generator gives NaN or infinity: its training diverged; use another model or "
            "train again"
        )
