"""The user's frozen task: a segmenter from a TorchScript or ONNX file, or any command.

Nothing in it is trained or adapted: what it makes of translations tells whether they can take the
place of the images that it was made for.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import Array, Labels
from medstyle_gan.evaluation.hallucination.blobs import Spacing
from medstyle_gan.inference.network.padding import pad_images
from medstyle_gan.volumes import Geometry, read_volume, write_volume

Segmenter = Callable[[Array, Spacing], Labels]
"""(volume (X, Y, Z) in the style's native units, spacing (mm)) → labels (X, Y, Z), 0 is none."""

Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class FrozenSegmenter:
    """A segmenter that can be pickled: the other process loads it anew.

    Attributes:
        task: what it was loaded from.
        dims: as they were given to `load_segmenter`.
        segment: what it does.
    """

    task: str
    dims: int | None
    segment: Segmenter

    def __call__(self, array: Array, spacing: Spacing) -> Labels:
        """See `Segmenter`."""
        return self.segment(array, spacing)

    def __reduce__(self) -> tuple[Callable[..., FrozenSegmenter], tuple[str, int | None]]:
        return load_segmenter, (self.task, self.dims)


_SCRIPTED = (".pt", ".pth", ".ts", ".torchscript")
_SLICES_AT_ONCE = 8
_DIVISOR = 16  # four halvings, as most segmenters have
_LAST_LINES = 5


def load_segmenter(task: str, dims: int | None = None) -> FrozenSegmenter:
    """Loads a frozen segmenter.

    A network takes (N, 1, X, Y) axial slices or (1, 1, X, Y, Z) volumes, axes R, A, S, in the
    style's native units, with sides that are multiples of 16 (they are padded), and gives one
    logit a voxel (lesion or none) or one for each label. A command is run for each volume, with
    no shell; `{input}` is a NIfTI to read, `{output}` the labels' NIfTI that it has to write.

    Args:
        task: a TorchScript file (.pt, .pth, .ts), an ONNX file (.onnx), or a command that holds
            `{input}` and `{output}`.
        dims: 2 or 3; None reads it from the network.

    Raises:
        UserError: no such file or command, an unreadable one, or dims that cannot be told.
    """
    if "{input}" in task or "{output}" in task:
        return FrozenSegmenter(task, dims, _command(task))
    path = Path(task).expanduser()
    suffix = path.suffix.lower()
    if suffix not in (*_SCRIPTED, ".onnx"):
        raise UserError(
            f"segmenter {task!r}: give a TorchScript ({', '.join(_SCRIPTED)}) or .onnx file, or a "
            "command with {input} and {output}"
        )
    if not path.is_file():
        raise UserError(f"segmenter {path}: there is no such file; give one that exists")
    logits, known = _onnx(path) if suffix == ".onnx" else _scripted(path)
    own_dims = dims or known
    if own_dims not in (2, 3):
        raise UserError(
            f"segmenter {path}: it cannot be told whether it takes slices or volumes; "
            "give its dimensions, 2 or 3"
        )
    return FrozenSegmenter(task, dims, _network(logits, own_dims, path))


def _scripted(path: Path) -> tuple[Logits, int | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch advises other formats
            network: Any = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # what bytes that are no archive raise is anybody's guess
        raise UserError(
            f"segmenter {path}: cannot be read as TorchScript ({_first_line(error)}); save it by "
            "torch.jit.script(network).save(path) or torch.jit.trace"
        ) from error
    kernels = [p.ndim - 2 for p in network.state_dict().values() if p.ndim in (4, 5)]

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            given = network(torch.from_numpy(images))
        if isinstance(given, tuple | list):
            given = given[0]
        values: NDArray[np.float32] = given.float().numpy()
        return values

    return logits, kernels[0] if kernels else None


def _onnx(path: Path) -> tuple[Logits, int | None]:
    try:
        onnxruntime: Any = import_module("onnxruntime")
    except ImportError as error:
        raise UserError(
            f"segmenter {path}: ONNX needs the package onnxruntime; "
            "pip install 'medstyle-gan[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own exceptions have no common ancestor
        raise UserError(
            f"segmenter {path}: onnxruntime cannot read it ({_first_line(error)}); export it anew"
        ) from error
    (first, *_) = session.get_inputs()

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = session.run(None, {first.name: images})[0]
        return values

    return logits, len(first.shape) - 2 if first.shape else None


def _network(logits: Logits, dims: int, path: Path) -> Segmenter:
    def segment(array: Array, spacing: Spacing) -> Labels:
        stack = np.moveaxis(array, 2, 0)[:, None] if dims == 2 else array[None, None]
        stack = np.ascontiguousarray(stack, np.float32)
        padded, inside = pad_images(stack, stack.shape[2:], _DIVISOR, float(stack.min()))
        parts = []
        for start in range(0, len(padded), _SLICES_AT_ONCE):
            given = np.ascontiguousarray(padded[start : start + _SLICES_AT_ONCE])
            try:
                found = logits(given)
            except Exception as error:  # of any network
                raise UserError(
                    f"segmenter {path}: it fails on {'slices' if dims == 2 else 'a volume'} of "
                    f"shape {given.shape} ({_first_line(error)}); it must take one channel"
                ) from error
            if found.ndim != given.ndim or found.shape[2:] != given.shape[2:]:
                raise UserError(
                    f"segmenter {path}: it gives {found.shape} for {given.shape}; it must give "
                    "a logit for each label and voxel"
                )
            parts.append(_classes(found)[(slice(None), *inside)])
        labels = np.concatenate(parts)
        whole = np.moveaxis(labels, 0, 2) if dims == 2 else labels[0]
        return np.ascontiguousarray(whole, np.int32)

    return segment


def _classes(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N, C, …) logits → (N, …) labels."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.int64)
    return logits.argmax(axis=1)


def _command(command: str) -> Segmenter:
    if "{input}" not in command or "{output}" not in command:
        raise UserError(f"segmenter {command!r}: a command must hold both {{input}} and {{output}}")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"segmenter {command!r}: {error}; quote it as a shell wants it") from error

    def segment(array: Array, spacing: Spacing) -> Labels:
        # No name of a patient: the volume is written anew, without its file's header.
        with tempfile.TemporaryDirectory(prefix="medstyle-segmenter-") as folder:
            given, made = Path(folder) / "image.nii.gz", Path(folder) / "labels.nii.gz"
            geometry = Geometry.from_affine(array.shape, np.diag([*spacing, 1.0]))
            write_volume(given, array, geometry, np.float32)
            filled = [
                word.replace("{input}", str(given)).replace("{output}", str(made)) for word in words
            ]
            _run(filled, command)
            if not made.is_file():
                raise UserError(
                    f"segmenter {command!r}: it wrote no {{output}}; it must write the labels there"
                )
            labels = np.asarray(read_volume(made, allow_constant=True).array)
        if labels.shape != array.shape:
            raise UserError(
                f"segmenter {command!r}: its labels have the shape {labels.shape} instead of "
                f"{array.shape}; they must lie on the grid of {{input}}"
            )
        return np.rint(labels).astype(np.int32)

    return segment


def _run(words: list[str], command: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(
            f"segmenter {command!r}: cannot be started ({error.strerror}); check its name"
        ) from error
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:])
        raise UserError(
            f"segmenter {command!r}: it ended with code {done.returncode}; it said:\n{said}"
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
