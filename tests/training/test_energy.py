from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from medstyle_gan.training.energy import GPUEnergy, ProcessorEnergy, energy_reader


@pytest.fixture
def packages(tmp_path: Path) -> list[Path]:
    """Two packages as Linux shows them, and a part of the first, which it contains."""
    folders = [tmp_path / name for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0")]
    for folder in [*folders, tmp_path / "intel-rapl"]:
        folder.mkdir()
    for folder in folders:
        (folder / "energy_uj").write_text("5000000\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
    return folders


def test_packages_are_added_up_without_their_parts(packages: list[Path], tmp_path: Path) -> None:
    energy = ProcessorEnergy(tmp_path)
    assert energy.read() == 0
    for folder in packages:
        (folder / "energy_uj").write_text("6500000\n")
    assert energy.read() == pytest.approx(3.0)


def test_a_counter_that_begins_again_goes_on(packages: list[Path], tmp_path: Path) -> None:
    energy = ProcessorEnergy(tmp_path)
    energy.read()
    (packages[0] / "energy_uj").write_text("1000000\n")
    assert energy.read() == pytest.approx(6.0)


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_a_counter_that_cannot_be_read_tells_nothing(
    packages: list[Path], tmp_path: Path, content: str | None
) -> None:
    (packages[1] / "energy_uj").unlink()
    if content:
        (packages[1] / "energy_uj").write_text(content)
    assert ProcessorEnergy(tmp_path).read() is None


def test_a_machine_without_counters_tells_nothing(tmp_path: Path) -> None:
    assert ProcessorEnergy(tmp_path / "absent").read() is None
    assert GPUEnergy("00000000-0000-0000-0000-000000000000").read() is None


def test_a_machines_packages_are_counted_by_one_of_its_processes() -> None:
    assert energy_reader(torch.device("cpu"), local_rank=1)() is None


@pytest.mark.gpu
def test_a_gpus_counter_grows_with_its_work() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    read = energy_reader(device)
    before = read()
    if before is None:
        pytest.skip("this GPU's driver has no energy counter")
    a = torch.randn(4096, 4096, device=device)
    began = time.monotonic()
    while time.monotonic() - began < 1:
        (a @ a).sum().item()
    after = read()
    assert after is not None
    assert 20 < after - before < 2000  # W for a second
