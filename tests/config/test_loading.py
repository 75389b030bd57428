from __future__ import annotations

from pathlib import Path

import pytest

from medstyle_gan.config import Config, load_config
from medstyle_gan.config.data_section import WindowScale
from medstyle_gan.config.network_sections import UNetGeneratorConfig
from medstyle_gan.errors import UserError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(path: Path | None = None, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == Config()


@pytest.mark.parametrize("text", ["", "# only a comment\n", "training:\n  # all commented out\n"])
def test_empty_files_and_sections_are_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, text)) == Config()


def test_overrides_win_over_options_which_win_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "training: {steps: 1, seed: 1, batch_size: 1}")
    options = {"training.seed": 2, "training.batch_size": 2, "data.scans": None}
    config = load_config(path, ["training.batch_size=3"], options=options)
    assert (config.training.steps, config.training.seed, config.training.batch_size) == (1, 2, 3)
    assert config.data.scans is None


def test_the_last_of_the_same_override_counts() -> None:
    assert load_config(None, ["training.steps=1", "training.steps=2"]).training.steps == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("logging.wandb=off", "off"),  # false in YAML 1.1
        ("logging.run_name=yes", "yes"),
        ("logging.run_name=1:30", "1:30"),  # 90 in YAML 1.1
        ("logging.run_name=2024-01-01", "2024-01-01"),  # a date in YAML 1.1
        ("logging.run_name='12'", "12"),
        ("logging.run_name=null", None),
        ("logging.run_name=a=b", "a=b"),
        ("method.generator_learning_rate=1e-4", 1e-4),  # text in YAML 1.1
        ("training.steps=010", 10),  # 8 in YAML 1.1
        ("data.sampler.subject_balanced=false", False),
        ("data.spacing=[1.8,1.8,null]", (1.8, 1.8, None)),
        ("data.scans=*/T1.nii.gz", "*/T1.nii.gz"),  # an alias in YAML
        ("data.scans=[a, b]", ["a", "b"]),
        ("loss.style.layers=[relu1_1]", ("relu1_1",)),
    ],
)
def test_override_values_are_read_as_they_look(override: str, expected: object) -> None:
    value: object = load_config(None, [override])
    for name in override.partition("=")[0].split("."):
        value = getattr(value, name)
    assert value == expected
    assert type(value) is type(expected)


def test_a_section_given_in_part_keeps_its_other_defaults(tmp_path: Path) -> None:
    # The class behind loss.cycle has weight 0; the section's default is 10.
    config = load_config(write(tmp_path, "loss:\n  cycle: {}\n  identity: {weight: 1}\n"))
    assert config.loss.cycle == Config().loss.cycle
    assert config.loss.identity.weight == 1


def test_a_union_without_name_keeps_the_default_variant() -> None:
    generator = load_config(None, ["generator.ngf=16"]).generator
    assert (generator.name, generator.ngf) == ("resnet", 16)


def test_a_union_is_switched_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, "generator: {name: resnet, ngf: 16}")
    generator = load_config(path, ["generator.name=unet"]).generator
    assert generator == UNetGeneratorConfig(ngf=16)


def test_a_nested_union_is_switched_by_its_name() -> None:
    overrides = ["data.intensity.scan.name=window", "data.intensity.scan.width=400"]
    assert load_config(None, overrides).data.intensity.scan == WindowScale(width=400)


def test_a_whole_section_can_be_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, "generator: {name: resnet, blocks: 6}")
    generator = load_config(path, ["generator={name: unet, levels: 3}"]).generator
    assert generator == UNetGeneratorConfig(levels=3)


def test_a_switched_union_names_the_settings_that_no_longer_fit(tmp_path: Path) -> None:
    path = write(tmp_path, "generator: {name: resnet, blocks: 6}")
    text = message(path, "generator.name=unet")
    assert (
        "generator.blocks: no setting of generator.name=unet (it belongs to resnet and switchable)"
        in text
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.stepz=3", "training.stepz: unknown setting; did you mean training.steps?"),
        ("steps=3", "method.steps or training.steps or training.warm_start.steps?"),
        ("trainning.steps=3", "trainning: unknown setting; did you mean training?"),
        ("data.intensity.scan.lowr=1", "did you mean data.intensity.scan.lower?"),
        ("vgg.zzz=1", "vgg.zzz: unknown setting; vgg has weights"),
        ("zzz=1", "zzz: unknown setting; the sections are data, method, generator"),
        (
            "generator.name=resnt",
            'generator.name: must be one of resnet, unet, switchable, not "resnt"',
        ),
        ("generator.name=resnt", "did you mean resnet?"),
        ("method.name=pix2pix", 'cut, fastcut, feedforward, adain, gatys, not "pix2pix"'),
        ("logging.wandb=onlin", 'one of off, offline, online, not "onlin"; did you mean online?'),
        ("training.steps=many", 'training.steps: must be a whole number, not "many"'),
        ("training.steps=1.5", "training.steps: must be a whole number, not 1.5"),
        ("training.steps=0", "training.steps: must be at least 1, not 0"),
        ("training.seed=9999999999", "training.seed: must be at most 2147483647, not 9999999999"),
        ("training.seed=true", "training.seed: must be a whole number, not true"),
        ("method.betas=[true, 0.9]", "method.betas: must be a list of 2 numbers, not [true, 0.9]"),
        ("data.sampler.subject_balanced=7", "must be true or false, not 7"),
        ("data.sample_size=[1, 0]", "data.sample_size[1]: must be at least 1, not 0"),
        ("data.sample_size=128", "data.sample_size: must be a list of whole numbers, not 128"),
        (
            "data.sample_size=[1, 2, 3]",
            "data.sample_size: must be two numbers where data.dims is 2",
        ),
        ("data.sample_size=[]", "must be two numbers where data.dims is 2"),
        ("data.dims=4", "data.dims: must be one of 2, 2.5, 3, not 4"),
        ("data.spacing=[1, 1]", "data.spacing: must be a list of 3 numbers or nulls, not [1, 1]"),
        ("data.spacing=[1, 1, -1]", "must be positive (mm)"),
        ("data.validation_fraction=1", "data.validation_fraction: must be below 1, not 1"),
        ("data.scans=[a, 3]", 'data.scans: must be text or a list of texts or null, not ["a", 3]'),
        ("data.intensity.scan.lower=.nan", "data.intensity.scan.lower: must be"),
        ("method.ema_decay=.inf", "method.ema_decay: must be"),
        ("loss.style.layers=relu1_1", "loss.style.layers: must be a list of texts"),
        ("method=3", "method: must be a section with name, betas"),
        ("vgg=[]", "vgg: must be a section with weights, crop, scale, slices, not []"),
        (
            "data.intensity.scan={name: fixed, lower: 2, upper: 1}",
            "lower (2.0) must be below upper",
        ),
        ("nothing", "'nothing' is not of the form key.path=value"),
        ("=3", "'=3' is not of the form key.path=value"),
        ("a..b=3", "'a..b=3' is not of the form key.path=value"),
        ("training.steps=[1", "training.steps: '[1' is not a YAML value"),
        ("training.steps={a: 1, a: 2}", "the key 'a' is there twice"),
    ],
)
def test_a_mistake_is_told_with_its_path_and_what_to_give(override: str, expected: str) -> None:
    text = message(None, override)
    assert expected in text
    assert "a mistake in the configuration" in text


def test_all_mistakes_are_listed_at_once_and_each_only_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "training: {stepz: 3, seed: true}\nvgg: {weights: 7}\n"
        "data: {scans: 3, intensity: {style: {name: window, widht: 3}}}\n",
    )
    first, *lines = message(
        path, "generator.ngf=no", "training.batch_size.x=1", "oops"
    ).splitlines()
    assert first == f"8 mistakes in {path} and the settings given with it:"
    assert sorted(line.split()[0].rstrip(":") for line in lines) == [
        "'oops'",
        "data.intensity.style.widht",
        "data.scans",
        "generator.ngf",
        "training.batch_size",
        "training.seed",
        "training.stepz",
        "vgg.weights",
    ]


def test_paths_hold_no_names_of_variants_or_types() -> None:
    text = message(None, "data.intensity.scan.name=window", "data.intensity.scan.width=x")
    assert "data.intensity.scan.width: must be a number" in text
    assert "str" not in message(None, "data.style=3").split(":")[1]


def test_an_override_below_a_value_is_refused(tmp_path: Path) -> None:
    text = message(write(tmp_path, "training: {steps: 3}"), "training.steps.x=1")
    assert "training.steps.x: training.steps is already given as a value" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training: [", "is not valid YAML: line 1"),
        ("a: 1\n b: 2\n", "is not valid YAML: line 2, column 3"),
        ("training: {steps: 1}\ntraining: {seed: 1}\n", "line 2, column 1: the key 'training' is"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("- 1", "holds a list"),
        ("3", "holds a single value"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    assert expected in message(path)
    assert str(path) in message(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "does not exist" in message(tmp_path / "none.yaml")
    assert "cannot be read" in message(tmp_path)
    binary = tmp_path / "config.yaml"
    binary.write_bytes(b"\x1f\x8b\xff\x00")
    assert "not UTF-8" in message(binary)


def test_keys_that_are_not_text_are_unknown(tmp_path: Path) -> None:
    assert "3: unknown setting" in message(write(tmp_path, "3: x"))


@pytest.mark.parametrize("size", ["[64, 48]", "[40, 64]"])
def test_a_crop_for_the_vgg_is_no_larger_than_the_samples(size: str) -> None:
    overrides = [f"data.sample_size={size}", "vgg.crop=49"]
    shown = size.strip("[]").replace(", ", "x")
    smallest = min(map(int, shown.split("x")))
    assert (
        f"vgg: vgg.crop 49 is larger than data.sample_size {shown}; set vgg.crop to {smallest} or "
        "less, or null" in message(None, *overrides)
    )
    assert load_config(None, [overrides[0], f"vgg.crop={smallest}"]).vgg.crop == smallest
    # Where the sample's size is a mistake itself, that alone is told.
    assert "vgg.crop" not in message(None, "data.sample_size=[0,1]", "vgg.crop=2")


PATCHES = ("data.dims=3", "data.sample_size=[64, 48, 32]", "data.spacing=[1, 1, 2]")


@pytest.mark.parametrize("spacing", ["[1, 1, 2]", "[null, null, null]", "[0.5, 0.5, 0.5]"], ids=str)
def test_patches_have_three_sizes_and_three_or_no_spacings(spacing: str) -> None:
    data = load_config(None, [*PATCHES, f"data.spacing={spacing}"]).data
    assert (data.dims, data.sample_size) == (3, (64, 48, 32))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.sample_size=[64, 64]", "data.sample_size: must be three numbers (along R, A, S) "),
        ("data.sample_size=[64, 64, 64, 64]", "such as [64, 64, 64], not [64, 64, 64, 64]"),
        ("data.sample_size=[64, 64, 0]", "data.sample_size[2]: must be at least 1, not 0"),
        ("data.spacing=[1, 1, null]", "three nulls for each volume's own grid, not [1, 1, null]"),
        ("data.spacing=[null, null, 1.5]", "data.spacing: must be three voxel sizes"),
        ("data.plane=sagittal", "data.plane: sagittal is a plane of slices, and data.dims is 3"),
        ("data.augmentation.crop=random", "data.augmentation: crop is of slices"),
    ],
)
def test_what_is_only_of_slices_is_refused_for_patches(override: str, expected: str) -> None:
    text = message(None, *PATCHES, override)
    assert expected in text
    assert "a mistake in the configuration" in text


def test_patches_asked_for_alone_name_all_that_must_change() -> None:
    text = message(None, "data.dims=3")
    assert "data.sample_size: must be three numbers" in text
    assert "data.spacing: must be three voxel sizes" in text
    assert text.startswith("2 mistakes")


def test_a_command_may_have_a_method_of_its_own(tmp_path: Path) -> None:
    assert load_config(None, ["method.steps=7"], method="gatys").method.name == "gatys"
    assert load_config(method="gatys").loss.style.weight == 1e6
    given = write(tmp_path, "method: {name: cyclegan}")
    assert load_config(given, method="gatys").method.name == "cyclegan"
    with pytest.raises(UserError, match=r"method\.steps: must be a whole number, not true"):
        load_config(None, ["method.steps=true"], method="gatys")
    with pytest.raises(UserError, match="method: must be a section"):
        load_config(None, ["method=3"], method="gatys")
