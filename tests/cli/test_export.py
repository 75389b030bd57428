from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import medstyle_gan
from medstyle_gan.cli import main
from medstyle_gan.config import load_config
from medstyle_gan.data.phantom import write_phantom_collections
from medstyle_gan.errors import UserError
from medstyle_gan.inference import load_bundle
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.training.exporting import checkpoint_bundle
from tests.training.small import BARE_RUN, collections

CANARY = "Canary-Patient"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps with checkpoints at every second one, named after a patient."""
    folder = tmp_path_factory.mktemp(CANARY)
    data = write_phantom_collections(folder, subjects=3, pairs=0, shape=(32, 32, 8))
    lengths = {
        "data.sample_size": [16, 16],
        "training.steps": 6,
        "training.checkpoint_every": 2,
        "training.validate_every": 4,
    }
    settings = {**collections(data), **BARE_RUN, **lengths}
    return medstyle_gan.train(load_config(None, [], options=settings), folder / "run")


def same_weights(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_bundle_of_a_run_is_its_model(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert main(["export", str(run), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"safetensors bundle -> {out}\n"
    for name in ("model.yaml", "generators.safetensors"):
        assert (out / name).read_bytes() == (run / "model" / name).read_bytes()
    assert not list(tmp_path.glob(".medstyle*"))


def test_last_checkpoint_gives_the_same_bundle_as_the_end(run: Path, tmp_path: Path) -> None:
    exported = load_bundle(medstyle_gan.export(run, tmp_path / "last", checkpoint="last"))
    model = load_bundle(run)
    assert exported.hash == model.hash
    for name in ("config", "channels", "scales", "integer", "background", "steps", "pictures"):
        assert getattr(exported, name) == getattr(model, name), name
    assert exported.fingerprint == model.fingerprint
    assert exported.versions == model.versions


def test_other_checkpoints_give_their_own_weights(run: Path, tmp_path: Path) -> None:
    path = run / "checkpoints" / "step_00000004.ckpt"
    assert main(["export", str(run), "-o", str(tmp_path / "a"), "--checkpoint", str(path)]) == 0
    bundle = load_bundle(tmp_path / "a")
    assert bundle.steps == 4
    weights = load_checkpoint(path)["ema"]["generators"]["scan_to_style"]
    assert same_weights(bundle.generator_state("scan_to_style"), dict(weights))
    assert bundle.hash != load_bundle(run).hash
    best = load_checkpoint(run / "checkpoints" / "best.ckpt")["step"]
    assert checkpoint_bundle(run, "best").steps == best


def test_without_the_average_the_generators_themselves(run: Path, tmp_path: Path) -> None:
    path = run / "checkpoints" / "last.ckpt"
    state = load_checkpoint(path)
    state["config"]["inference"]["ema"] = False
    torch.save(state, tmp_path / "plain.ckpt")
    bundle = checkpoint_bundle(run, tmp_path / "plain.ckpt")
    weights = state["networks"]["style_to_scan"]
    assert same_weights(bundle.generator_state("style_to_scan"), dict(weights))


@pytest.mark.parametrize("format", ["safetensors", "monai"])
def test_no_path_or_name_gets_into_a_bundle(run: Path, tmp_path: Path, format: Any) -> None:
    folder = medstyle_gan.export(run, tmp_path / "bundle", format)
    texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for secret in (CANARY, str(tmp_path), "sub-001", "T1w"):
        assert not any(secret.encode() in text for text in texts), secret


def test_settings_of_inference_can_be_changed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert main(["export", str(run), "-o", str(out), "inference.batch_size=3"]) == 0
    assert load_bundle(out).config.inference.batch_size == 3


def test_mistakes_are_told_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def refused(*arguments: object) -> str:
        assert main(["export", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("medstyle: error: ")
        return error

    assert "no such model" in refused(tmp_path / "none", "-o", out)
    assert "no run with checkpoints" in refused(tmp_path, "-o", out, "--checkpoint", "last")
    missing = tmp_path / "none.ckpt"
    assert str(missing) in refused(run, "-o", out, "--checkpoint", missing)
    assert "training.steps" in refused(run, "-o", out, "training.steps=3")
    assert "exists and is not empty" in refused(run, "-o", run)
    (tmp_path / "file").touch()
    assert "file" in refused(run, "-o", tmp_path / "file" / "out")
    assert "--format" in refused(run, "-o", out, "--format", "pickle")
    assert not out.exists()
    assert (run / "model" / "model.yaml").exists()


def test_a_failure_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr("medstyle_gan.inference.bundles.monai_bundle._metadata", fail)
    with pytest.raises(UserError, match="disk"):
        medstyle_gan.export(run, tmp_path / "out", "monai")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["run", "safetensors", "monai", "unfinished"])
def test_info_shows_the_card_of_each(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    model = run
    if kind in ("safetensors", "monai"):
        model = medstyle_gan.export(run, tmp_path / "bundle", kind)  # type: ignore[arg-type]
    elif kind == "unfinished":
        model = tmp_path / "unfinished"
        (model / "checkpoints").mkdir(parents=True)
        (model / "checkpoints" / "last.ckpt").hardlink_to(run / "checkpoints" / "last.ckpt")
    capsys.readouterr()
    assert main(["info", str(model), "--json", str(tmp_path / "card.json")]) == 0
    card = capsys.readouterr().out
    facts = json.loads((tmp_path / "card.json").read_text())
    bundle = load_bundle(run)
    names = {"run": "safetensors", "unfinished": "checkpoint"}
    assert facts["format"] == names.get(kind, kind)
    assert facts["hash"] == bundle.hash
    parameters = sum(t.numel() for t in bundle.generator_state("scan_to_style").values())
    assert facts["networks"]["parameters"] == {
        "scan_to_style": parameters,
        "style_to_scan": parameters,
    }
    assert facts["data"]["scan"] == bundle.fingerprint["scan"]
    for text in (
        bundle.hash,
        "cyclegan, step 6 of 6",
        f"{parameters:,} parameters, grey to grey",
        "16x16 axial slices",
        "scan      ",
        "2 volumes of 2 subjects (1 more held out)",
        "scope of inputs can be checked",
        "percentile (lower 0.5, upper 99.5",
        f"medstyle_gan {medstyle_gan.__version__}",
    ):
        assert text in card, text
    for secret in (CANARY, str(tmp_path), "sub-001"):
        assert secret not in card + json.dumps(facts)


def test_info_of_what_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path)]) == 2
    assert "not a model folder" in capsys.readouterr().err


def test_info_of_colour_and_of_an_older_model(tmp_path: Path, run: Path) -> None:
    from medstyle_gan.inference import describe_model, format_card

    bundle = load_bundle(run)
    older = {
        d: {k: v for k, v in f.items() if k != "appearance"} for d, f in bundle.fingerprint.items()
    }
    pictures = {"scan": False, "style": True}
    card = format_card(
        describe_model(
            replace(
                bundle,
                fingerprint=older,
                channels={"scan": 1, "style": 3},
                pictures=pictures,
            )
        )
    )
    assert "grey to colour" in card
    assert "colour to grey" in card
    assert "pictures of" in card
    assert card.count("scope of inputs cannot be checked") == 2
    assert "nothing more is recorded" in format_card(
        describe_model(replace(bundle, fingerprint={}))
    )


def test_versions_of_a_checkpoint_are_those_it_was_made_with(run: Path) -> None:
    recorded = yaml.safe_load((run / "run.yaml").read_text())["starts"][0]["versions"]
    versions = checkpoint_bundle(run).versions
    assert versions == {k: v for k, v in recorded.items() if k != "python"}
    assert re.match(r"\d+\.", versions["torch"])
