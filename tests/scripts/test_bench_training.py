"""The training benchmark: a smoke run, and what its figures are made of. Nothing is timed here."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch

from medstyle_gan.networks.convolutions import ResizeConv
from medstyle_gan.networks.resnet import ResNetGenerator
from tests.scripts.conftest import LoadScript


@pytest.fixture
def script(load_script: LoadScript) -> Any:
    return load_script("bench_training")


@pytest.fixture
def step_time(script):
    return importlib.import_module("bench.step_time")


def test_a_quick_run_prints_and_writes_every_part(script, tmp_path, capsys) -> None:
    file = tmp_path / "bench.json"
    assert script.main(["--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())

    assert result["machine"]["cpu"] in printed
    assert min(result["machine"]["gemm_gflops"].values()) > 0
    ours = ["ours, no VGG", "ours, VGG", "ours, G only"]
    names = ["textbook", "textbook, our layers", *ours]
    assert list(result["step"]["milliseconds"]) == names
    assert result["step"]["steps_each"] % result["step"]["cadence"] == 0
    rates = result["step"]["rates"]
    assert all(r["gflops"] > 0 and r["gemm_share"] > 0 for r in rates.values())
    # A transposed convolution of width 4 in place of a doubling and one of width 3.
    assert 0.5 < rates["ours, no VGG"]["gflop"] / rates["textbook"]["gflop"] < 1
    assert result["data"]["volumes"] == 4
    assert 0 < result["data"]["blocked_ms_per_step"] < result["data"]["step_ms"]
    for figures in result["memory"]["mib"].values():
        assert 0 < figures["imports"] <= figures["peak"]
        assert figures["resident"] <= figures["peak"]
    ratios = [r for part in ("step", "data", "memory") for r in result[part]["ratios"]]
    assert len(ratios) == 8
    assert result["data"]["first_step_seconds"].keys() == {"VGG", "no VGG"}
    assert result["data"]["slices_read_per_second"] > 0
    for ratio in ratios:
        assert ratio["value"] > 0
        assert ratio["name"] in printed


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("upsampling", ["resize", "linear", "transpose"])
def test_plain_layers_give_the_same_images(step_time, dims: int, upsampling) -> None:
    plain_layers = importlib.import_module("bench.plain_layers")
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, 4, 1, upsampling, dims).double()
    plain = plain_layers.with_plain_layers(generator, dims)
    assert not any(isinstance(module, ResizeConv) for module in plain.modules())
    x = torch.rand(1, 1, *[16] * dims, dtype=torch.float64) * 2 - 1
    torch.testing.assert_close(plain(x), generator(x))


@pytest.mark.parametrize("layers", ["torch's", "ours"])
@pytest.mark.parametrize("upsampling", ["resize", "transpose"])
def test_the_textbook_loop_minimises_what_ours_does(step_time, layers, upsampling) -> None:
    overrides = ["training.precision=fp32", "training.accelerator=cpu"]
    overrides.append(f"generator.upsampling={upsampling}")
    batches = step_time.synthetic_batches((32, 32), 2)[:3]
    *textbooks, ours, _, _ = step_time.make_contenders(overrides, quick=True, batches=batches)
    textbook = textbooks[layers == "ours"]
    kinds = {type(m).__name__ for m in textbook.to_style.modules()}
    assert ("ReflectionPad" in kinds) == (layers == "ours")
    for batch in batches:
        expected = textbook.step(batch["scan"], batch["style"])
        ours.run([batch], 0)
        for name, loss in expected.items():
            assert ours.method.logged[f"loss/{name}"].item() == pytest.approx(
                loss.item(), rel=2e-3
            ), name


def test_vgg_terms_act_once_a_cadence_period(step_time) -> None:
    batches = step_time.synthetic_batches((32, 32), 1)[:1]
    vgg = step_time.make_contenders([], quick=True, batches=batches)[3]
    acted = []
    for _ in range(5):
        vgg.run(batches, 0)
        acted.append(any(name.startswith("loss/style_") for name in vgg.method.logged))
    assert acted == [True, False, False, False, True]


class Noting:
    """A contender that notes its turns; each step takes as long as it is told."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self.name = name
        self.turns = turns
        self.batches: list[list[int]] = []

    def run(self, batches, warmup):
        self.turns.append(self.name)
        self.batches.append([int(batch["scan"]) for batch in batches])
        return [float(len(self.batches))] * (len(batches) - warmup)


def test_contenders_take_turns_on_the_same_batches_and_the_first_round_is_left_out(
    step_time,
) -> None:
    turns: list[str] = []
    contenders = [Noting(name, turns) for name in "abc"]
    batches = [{"scan": torch.tensor(i), "style": torch.tensor(i)} for i in range(3)]
    times = step_time.interleave(contenders, batches, 4, 2, lambda line: None)
    assert turns == [*"abc", *"bca", *"cab"]
    assert times == {name: [[2.0] * 4, [3.0] * 4] for name in "abc"}
    assert {str(c.batches) for c in contenders} == {str([[0, 1, 2, 0, 1]] * 3)}


def test_lazy_steps_count_by_their_mean_and_outliers_do_not_touch_the_median(step_time) -> None:
    times = {
        step_time.TEXTBOOK: [[2.0, 2.0, 2.0, 90.0]],
        step_time.PLAIN: [[1.0, 1.0, 1.0, 1.0]],
        step_time.VGG: [[2.0, 1.0, 1.0, 1.0]],
        step_time.GENERATORS: [[0.5, 0.5, 0.5, 0.5]],
    }
    times[step_time.OUR_LAYERS] = [[4.0, 1.0, 1.0, 1.0]]
    speed, loop, vgg = step_time.ratios(times, 0.65)
    assert [r["value"] for r in (speed, loop, vgg)] == [0.5, 1.0, 1.25]
    assert step_time.shares(times) == {"generators": 0.4, "discriminators": 0.4, "vgg": 0.2}


def test_the_arithmetic_of_a_step_is_counted_whole(step_time) -> None:
    class Convolving:
        name = "convolving"

        def run(self, batches, warmup):
            weight = torch.ones(4, 1, 3, 3, requires_grad=True)
            torch.nn.functional.conv2d(batches[0]["scan"], weight).sum().backward()
            return []

    batch = step_time.synthetic_batches((32, 32), 2)[0]
    multiplications = 2 * 30 * 30 * 4 * 9
    counted = step_time.step_gflop(Convolving(), batch)
    assert counted == pytest.approx(2 * 2 * multiplications / 1e9)  # forward, weights' gradient
    rates = step_time.rates(
        {"convolving": [[0.5, 0.25]]}, {"convolving": 3.0}, {"convolving": "bf16"}, {"bf16": 32.0}
    )
    assert rates == {"convolving": {"gflop": 3.0, "gflops": 8.0, "gemm_share": 0.25}}


def test_a_target_is_met_from_the_side_that_it_is_on(script) -> None:
    def ratio(value: float, **side: bool) -> dict[str, object]:
        return {"name": "n", "value": value, "target": 2.0, **side}

    verdicts = script.verdicts(
        {"ratios": [ratio(1.0), ratio(3.0), ratio(3.0, at_least=True), ratio(1.0, at_least=True)]}
    )
    assert [line.split(": ")[1] for line in verdicts] == ["met", "MISSED", "met", "MISSED"]
    assert "≥ 2.0" in verdicts[2]


def test_many_phantoms_are_distinct_files_of_distinct_subjects(script, tmp_path) -> None:
    from medstyle_gan.data.collection import check_distinct, find_collection

    write = importlib.import_module("bench.many_phantoms").write_many_phantoms
    folders = write(tmp_path, 9, (32, 32, 8))
    collections = [find_collection(str(f), r"(sub-\d+)") for f in (folders.scans, folders.style)]
    contents = {item.path.read_bytes() for part in collections for item in part}
    assert len(contents) == 18
    assert [len(part.subjects) for part in collections] == [9, 9]
    check_distinct(*collections)
    assert not set(collections[0].subjects) & set(collections[1].subjects)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["generator.ngff=3"], "generator.ngf"),
        (["loss.adversarial.name=hinge"], "least-squares"),
        (["training.devices=2"], "training.devices"),
        (["training.steps=5"], "training.steps"),
    ],
)
def test_settings_that_cannot_be_compared_are_refused(script, arguments, named, capsys) -> None:
    assert script.main(["--quick", *arguments]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--parts=speed"], ["--rounds=0"]])
def test_wrong_options_are_refused(script, arguments) -> None:
    with pytest.raises(SystemExit) as stop:
        script.main(arguments)
    assert stop.value.code == 2


def test_without_packages_the_environment_is_made_and_entered(repository, tmp_path) -> None:
    scripts = tmp_path / "a clone" / "scripts"
    shutil.copytree(repository / "scripts", scripts)
    (scripts / "environment.sh").write_text(
        'set_up_environment() { echo "set up [$1]"; }\nvenv="$(dirname "$1")/venv"\n'
    )
    python = scripts / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    bare = [sys.executable, "-I", "-S", str(scripts / "bench_training.py")]
    environment = {k: v for k, v in os.environ.items() if k != "MEDSTYLE_BENCH_ENTERED"}
    process = subprocess.run(
        [*bare, "--parts", "data", "data.workers=1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    script = str(scripts / "bench_training.py")
    assert process.stdout.splitlines() == [
        "set up []",
        script,
        "--parts",
        "data",
        "data.workers=1",
    ]
