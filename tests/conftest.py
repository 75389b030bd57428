from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


# Where the long tests are, longest first. Two processes share the files, and one that got a long
# file last would work on it alone.
LONG = ("training", "scripts", "inference", "end_to_end", "data", "methods", "cli")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def turn(item: pytest.Item) -> int:
        room = item.path.relative_to(REPOSITORY / "tests").parts[0]
        return LONG.index(room) if room in LONG else len(LONG)

    items.sort(key=turn)
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session", autouse=True)
def _nothing_outside_the_test_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the cache and Weights & Biases out of the user's home and off the network."""
    os.environ["MEDSTYLE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["WANDB_DIR"] = str(tmp_path_factory.mktemp("wandb"))
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real volumes beside the repository; a test that asks for them skips without."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
