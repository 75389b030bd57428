"""The examples of the documentation are run, beside a run and a patient's volume."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import medstyle_gan

CHECK = """
import sys
import medstyle_gan
assert {"Translator", "TranslateStyled", "train", "export"} <= set(medstyle_gan.__all__)
assert not {"torch", "monai", "numpy"} & set(sys.modules), "heavy imports"
"""


def modules_with_examples() -> list[str]:
    """Found by their text: the others need no import."""
    root = Path(medstyle_gan.__file__).parent
    found = [path for path in sorted(root.rglob("*.py")) if ">>> " in path.read_text()]
    names = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in found]
    return [name.removesuffix(".__init__") for name in names]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/t1_to_t2` and `patient.nii.gz`, as the examples assume."""
    from medstyle_gan.config import load_config
    from medstyle_gan.data.phantom import write_phantom_collections
    from tests.training.small import BARE_RUN, collections

    folder = tmp_path_factory.mktemp("examples")
    data = write_phantom_collections(folder / "data", subjects=3, pairs=0, shape=(32, 32, 8))
    sizes = {"data.sample_size": [32, 32], "data.validation_fraction": 0, "training.steps": 2}
    settings = {**collections(data), **BARE_RUN, **sizes}
    medstyle_gan.train(load_config(None, [], options=settings), folder / "runs" / "t1_to_t2")
    next(data.scans.iterdir()).rename(folder / "patient.nii.gz")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_run(name: str, patient: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(patient)
    result = doctest.testmod(import_module(name), report=True)
    assert result.attempted > 0
    assert result.failed == 0


def test_there_are_examples_for_the_main_things() -> None:
    assert {
        "medstyle_gan",
        "medstyle_gan.inference.translator",
        "medstyle_gan.inference.transforms",
    } <= set(modules_with_examples())


def test_importing_the_package_leaves_torch_alone(repository: Path) -> None:
    subprocess.run([sys.executable, "-c", CHECK], cwd=repository, check=True)
