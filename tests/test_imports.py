"""The rooms import one way (DESIGN §3), and each keeps to what it may know."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "medstyle_gan"

# Highest first: a room may import itself and rooms to its right.
ROOMS = [
    *("cli", "training", "evaluation", "inference", "methods"),
    *("data", "losses", "networks", "volumes", "config"),
]
# The same inside inference/; its plain files, a translator of one volume, are one room, and
# those of `stylize`, which write as archives do, another.
INNER_ROOMS = ["archive", "panels", "stylize", "outputs", "translator", "bundles", "network"]
LOWEST = {"errors", "signals"}  # top-level modules that anything may import
# Only volumes/ opens an image file; nibabel's geometry and PIL's drawing are for all.
IMAGE_LIBRARIES = {"av", "imageio", "tifffile", "pydicom", "itk"}
IMAGE_READERS = {"imread", "read_image", "decode_image", "LoadImage", "LoadImaged", "nibabel.load"}
OPENING_CALLS = {"nib.load", "nibabel.load", "Image.open", "PIL.Image.open", "plt.imread"}
# SimpleITK registers what is in memory, too.
SITK_READERS = ("ReadImage", "ImageFileReader", "ImageSeriesReader")
OPENING_CALLS |= {f"{module}.{r}" for module in ("sitk", "SimpleITK") for r in SITK_READERS}
FORBIDDEN = {
    "networks": {"lightning", "pytorch_lightning", "wandb", "yaml", "pydantic"},
    "losses": {"lightning", "pytorch_lightning", "wandb", "yaml", "pydantic"},
    "methods": {"wandb", "yaml", "pathlib"},
    "config": {"torch", "numpy", "monai", "lightning", "scipy", "matplotlib", "nibabel"},
}
DISTRIBUTIONS = {
    "PIL": "pillow",
    "pydantic_core": "pydantic",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}

MODULES = sorted(PACKAGE.rglob("*.py"))
each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a module imports, anywhere in it, with their lines."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def room_of(path: Path) -> str | None:
    """The module's room, None for the package's own `__init__` and `__main__`."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return None if first in ("__init__", "__main__") else first


def room_imported(name: str) -> str | None:
    package, *rest = name.split(".")
    return rest[0] if package == "medstyle_gan" and rest and rest[0] != "__version__" else None


@each_module
def test_rooms_import_one_way(path: Path) -> None:
    room = room_of(path)
    if room is None:
        return
    allowed = LOWEST | (set(ROOMS[ROOMS.index(room) :]) if room in ROOMS else set())
    wrong = [
        f"line {line}: {name}"
        for name, line in imported(path)
        if (other := room_imported(name)) is not None and other not in allowed
    ]
    assert not wrong


def inner_room(parts: tuple[str, ...]) -> str:
    """The room inside inference/ of a module, by its path below that."""
    first = parts[0].removesuffix(".py")
    if first in INNER_ROOMS:
        return first
    return "stylize" if first.startswith("styliz") else "translator"


@each_module
def test_rooms_of_inference_import_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if parts[0] != "inference" or parts[1] == "__init__.py":
        return
    allowed = INNER_ROOMS[INNER_ROOMS.index(inner_room(parts[1:])) :]
    prefix = "medstyle_gan.inference."
    wrong = [
        f"line {line}: {name}"
        for name, line in imported(path)
        if name.startswith(prefix)
        and inner_room(tuple(name.removeprefix(prefix).split("."))) not in allowed
    ]
    assert not wrong


@each_module
def test_a_room_knows_only_what_it_may(path: Path) -> None:
    forbidden = set(FORBIDDEN.get(str(room_of(path)), ()))
    wrong = [
        f"line {line}: {name}" for name, line in imported(path) if name.split(".")[0] in forbidden
    ]
    assert not wrong


@each_module
def test_only_volumes_opens_image_files(path: Path) -> None:
    if room_of(path) == "volumes":
        return
    wrong = [
        f"line {line}: {name}"
        for name, line in imported(path)
        if name.split(".")[0] in IMAGE_LIBRARIES
        or any(name == reader or name.endswith(f".{reader}") for reader in IMAGE_READERS)
    ]
    wrong += [
        f"line {node.lineno}: {call}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ((call := ast.unparse(node.func)) in OPENING_CALLS or call.endswith(".from_filename"))
    ]
    assert not wrong


@each_module
def test_networks_and_losses_know_config_by_its_models_only(path: Path) -> None:
    if room_of(path) not in ("networks", "losses"):
        return
    wrong = [
        f"line {line}: {name}"
        for name, line in imported(path)
        if name.startswith("medstyle_gan.config")
        and not re.match(r"medstyle_gan\.config\.\w+_sections?\.", name)
    ]
    assert not wrong


@each_module
def test_only_the_command_line_prints(path: Path) -> None:
    if room_of(path) == "cli":
        return
    lines = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not lines


@each_module
def test_every_library_is_declared(path: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["dicom"], *extras["onnx"], *extras["video"]]
    declared = {re.split(r"[<>=\[ ]", line)[0].lower() for line in lines}
    known = set(sys.stdlib_module_names) | {"medstyle_gan"}
    wrong = [
        f"line {line}: {name}"
        for name, line in imported(path)
        if (top := name.split(".")[0]) not in known
        and DISTRIBUTIONS.get(top, top.lower()) not in declared
    ]
    assert not wrong


@each_module
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))


def test_every_room_is_in_the_order() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(ROOMS)
