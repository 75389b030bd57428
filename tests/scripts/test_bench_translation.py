"""The translation benchmark: a smoke run, and what its figures are made of. Nothing is timed."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medstyle_gan.config import load_config


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    path = repository / "scripts" / "bench_translation.py"
    spec = importlib.util.spec_from_file_location("bench_translation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def speed(script):
    return importlib.import_module("bench.translation_speed")


SMALL = ["generator.ngf=4", "generator.blocks=1", "inference.batch_size=2"]


def test_a_quick_run_prints_and_writes_every_part(script, tmp_path, capsys) -> None:
    file = tmp_path / "bench.json"
    assert script.main(["--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())
    (part,) = result["speed"]["volumes"]
    assert part["slices"] == 4
    assert part["seconds_for_the_volume"]["ours"] == pytest.approx(
        part["seconds_per_slice"]["ours"] * 6, abs=0.02
    )
    (row,) = result["memory"]["volumes"]
    assert 0 < row["before_mib"] <= row["peak_mib"]
    ratios = [r for name in ("speed", "memory") for r in result[name]["ratios"]]
    assert len(ratios) == 4
    for ratio in ratios:
        assert ratio["value"] >= 0
        assert ratio["name"] in printed


def test_all_contenders_give_the_same_translation(speed) -> None:
    config = load_config(None, [*SMALL, "training.precision=fp32"])
    translator = speed.make_translator(config, (32, 40))
    volume = speed.make_volume((32, 40, 5))
    run = speed._contenders(translator, speed.make_generator(config), volume)
    plain = run[speed.PLAIN]()
    for name in (speed.MONAI_SLICES, speed.MONAI_WINDOWS):
        torch.testing.assert_close(run[name](), plain, atol=1e-4, rtol=0)
    ours = run[speed.OURS]().image.array
    native = speed._SCALE.from_unit(plain[0, 0].numpy())
    inside = (volume.array > 250) & (ours != 0)  # but for what the body's mask leaves out
    assert inside.mean() > 0.6
    assert np.abs(ours - native)[inside].max() <= 0.6  # rounded to int16


def test_operations_are_those_of_the_convolutions(speed) -> None:
    overrides = [*SMALL, "generator.upsampling=transpose"]
    generator = speed.make_generator(load_config(None, overrides))
    pixels, n = 32 * 32, 4
    expected = (
        pixels * 49 * n  # 7x7 in
        + pixels / 4 * 9 * n * 2 * n
        + pixels / 16 * 9 * 2 * n * 4 * n
        + 2 * pixels / 16 * 9 * (4 * n) ** 2
        + pixels / 16 * 9 * 4 * n * 2 * n
        + pixels / 4 * 9 * 2 * n * n
    ) * 2
    counted = speed.slice_flops(generator, (32, 32))
    # The output's rows are convolved apart, each over the borders that others add.
    assert expected < counted < expected + 2 * 49 * n * 38 * 38 * 1.05


@pytest.mark.parametrize("arguments", [["--parts", "sped"], ["--volumes", "3x3"], ["--slices=0"]])
def test_wrong_arguments_are_refused(script, arguments, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        script.main(arguments)
    assert end.value.code == 2
    assert "error" in capsys.readouterr().err
