from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medstyle_gan.methods.vgg_regularizer import Grams
from medstyle_gan.training import gram_cache
from medstyle_gan.training.gram_cache import grams_of
from tests.end_to_end.full_disk import full_disk

FACTS = {"seed": 0, "layers": ["relu1_1"]}
ROWS = 30


class Maker:
    """Makes other matrices each time, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Grams]:
        self.calls += 1
        rng = torch.Generator().manual_seed(self.calls)
        return {
            domain: {
                layer: torch.rand(ROWS, ROWS, generator=rng) for layer in ("relu1_1", "relu2_1")
            }
            for domain in ("scan", "style")
        }


@pytest.fixture
def make() -> Maker:
    return Maker()


def assert_same(ours: dict[str, Grams], theirs: dict[str, Grams]) -> None:
    assert {d: list(g) for d, g in ours.items()} == {d: list(g) for d, g in theirs.items()}
    for domain, grams in theirs.items():
        for layer, matrix in grams.items():
            assert torch.equal(ours[domain][layer], matrix)


def entry(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


def test_what_is_read_is_bit_for_bit_what_was_made(tmp_path: Path, make: Maker) -> None:
    made = grams_of(FACTS, tmp_path, make)
    assert_same(made, Maker()())
    assert_same(grams_of(dict(reversed(FACTS.items())), tmp_path, make), made)
    assert make.calls == 1


def test_other_facts_are_another_entry(tmp_path: Path, make: Maker) -> None:
    first = grams_of(FACTS, tmp_path, make)
    second = grams_of(FACTS | {"seed": 1}, tmp_path, make)
    assert make.calls == 2
    assert not torch.equal(first["scan"]["relu1_1"], second["scan"]["relu1_1"])
    assert_same(grams_of(FACTS, tmp_path, make), first)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    at = len(content) - 100  # in the last matrix
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage", [_cut, _flipped, lambda content: b"", lambda content: b"x" * 500, lambda c: c[1:]]
)
def test_a_damaged_entry_is_made_again_and_replaced(
    tmp_path: Path, make: Maker, damage: Callable[[bytes], bytes]
) -> None:
    grams_of(FACTS, tmp_path, make)
    path = entry(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    again = grams_of(FACTS, tmp_path, make)
    assert make.calls == 2
    assert_same(grams_of(FACTS, tmp_path, make), again)
    assert make.calls == 2


def test_an_entry_of_matrices_that_nobody_signed_is_made_again(tmp_path: Path, make: Maker) -> None:
    import safetensors.torch

    grams_of(FACTS, tmp_path, make)
    safetensors.torch.save_file({"scan.relu1_1": torch.ones(2, 2)}, entry(tmp_path))
    grams_of(FACTS, tmp_path, make)
    assert make.calls == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, make: Maker) -> None:
    missing = tmp_path / "missing"
    assert_same(grams_of(FACTS, missing, make), Maker()())
    assert not missing.exists()
    with full_disk(5_000):
        grams_of(FACTS, tmp_path, make)
    assert make.calls == 2
    assert [path for path in tmp_path.iterdir() if path.name != "locks"] == []
    grams_of(FACTS, tmp_path, make)
    assert make.calls == 3
    assert entry(tmp_path).is_file()


def test_of_many_entries_those_used_last_stay_and_nothing_else_is_touched(
    tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram_cache, "_KEPT", 2)
    theirs = [tmp_path / "model.safetensors", tmp_path / "volume.npy"]
    for path in theirs:
        path.write_bytes(b"somebody's")
        os.utime(path, (0, 0))
    facts = [FACTS | {"seed": seed} for seed in range(3)]
    for seed in (1, 0):
        grams_of(facts[seed], tmp_path, make)
        for path in set(tmp_path.glob("*.safetensors")) - {*theirs}:
            os.utime(path, (1, 1))  # long ago
    grams_of(facts[1], tmp_path, make)  # read, and so used later than the other

    grams_of(facts[2], tmp_path, make)

    assert make.calls == 3
    grams_of(facts[1], tmp_path, make)
    assert make.calls == 3
    grams_of(facts[0], tmp_path, make)
    assert make.calls == 4
    assert len(list(tmp_path.glob("*.safetensors"))) == 2 + 1
    assert all(path.read_bytes() == b"somebody's" for path in theirs)


def test_a_mistake_in_making_is_told_and_leaves_nothing(tmp_path: Path, make: Maker) -> None:
    def broken() -> dict[str, Grams]:
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        grams_of(FACTS, tmp_path, broken)
    assert not list(tmp_path.glob("*.safetensors"))
    grams_of(FACTS, tmp_path, make)
    assert make.calls == 1
