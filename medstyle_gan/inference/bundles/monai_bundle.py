"""MONAI bundles (MONAI Bundle Specification, docs.monai.io): the model as MONAI's tools take it.

configs/metadata.json       what the network takes and gives, versions, how it was trained
configs/inference.json      `python -m monai.bundle run` translates a folder
models/model.pt             weights of scan_to_style, tensors only
models/model.yaml, …        the bundle of `medstyle export`, with both directions
docs/README.md              how to use it
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import medstyle_gan
from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.bundle_files import save_bundle
from medstyle_gan.inference.bundles.generators import (
    generator_channels,
    refuse_undirected,
    restore_generator,
)
from medstyle_gan.networks import GENERATORS
from medstyle_gan.volumes.atomic import atomic_file

SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
# The network that the metadata describes; the other direction is a setting of inference.json.
_DIRECTION: Direction = "scan_to_style"
_WAY_BACK = "The other way: `--direction style_to_scan`. "
_README = """# {name}

Translates {scan} to {style}, made by medstyle_gan {version} ({method}, {steps} steps).
**Made by a generative model: its images are not acquired, and not for diagnosis.**

Needs `pip install medstyle-gan`. Everything in a folder (`.nii.gz` and what else
`medstyle translate` reads) is translated with

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . \\
        --dataset_dir INPUT --output_dir OUTPUT

{way_back}The same model in the other tools of medstyle_gan:
`medstyle translate THIS_FOLDER INPUT -o OUTPUT`, `medstyle info THIS_FOLDER`.

Weights: sha256 {hash} over names, types, shapes and values.
"""


def save_monai_bundle(bundle: Bundle, folder: Path) -> Path:
    """Write a MONAI bundle.

    Args:
        bundle: with weights.
        folder: made where missing.

    Returns:
        the folder.

    Raises:
        UserError: when the folder cannot be written, and for a model that translates nothing by
            itself.
    """
    refuse_undirected(bundle)
    save_bundle(bundle, folder / "models")
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in bundle.generator_state(_DIRECTION).items()
    }
    with atomic_file(folder / "models" / "model.pt") as file:
        torch.save(state, file)
    for name, content in (("metadata", _metadata(bundle)), ("inference", _inference(bundle))):
        with atomic_file(folder / "configs" / f"{name}.json") as file:
            file.write((json.dumps(content, indent=4) + "\n").encode())
    with atomic_file(folder / "docs" / "README.md") as file:
        file.write(_readme(bundle).encode())
    return folder


def _metadata(bundle: Bundle) -> dict[str, Any]:
    own = f"{bundle.steps} steps of {bundle.config.method.name}"
    shape = _spatial_shape(bundle)
    task = "Unpaired style translation of medical scans"
    packages = {
        "medstyle-gan": medstyle_gan.__version__,
        **{name: version(name) for name in ("nibabel", "safetensors")},
    }
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by medstyle_gan after {own}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],  # without the build
        "numpy_version": version("numpy"),
        "required_packages_version": packages,
        "optional_packages_version": {},
        "supported_apps": {},
        "name": "medstyle_gan translation",
        "task": task,
        "description": f"{task}: a generator trained by {own}, which keeps a volume's geometry "
        "and turns its contrast into that of a style collection, and back.",
        "authors": "not recorded",
        "copyright": "not recorded",
        "data_source": "not recorded",
        "data_type": "pictures" if bundle.pictures["scan"] else "volumes",
        "image_classes": "scan, intensities scaled to [-1, 1]",
        "pred_classes": "translation, intensities in [-1, 1]",
        "intended_use": "Research. Images are made by a generative model: not for diagnosis.",
        "references": [
            "J.-Y. Zhu et al. Unpaired Image-to-Image Translation Using Cycle-Consistent "
            "Adversarial Networks. ICCV 2017."
        ],
        "medstyle_gan": {"hash": bundle.hash, "steps": bundle.steps},
        "network_data_format": {
            "inputs": {"image": _tensor(bundle, 0, shape)},
            "outputs": {"pred": _tensor(bundle, 1, shape)},
        },
    }


def _spatial_shape(bundle: Bundle) -> list[Any]:
    """Sizes that the network is given: windows in 3-D, else what it takes, n and p from 1 on."""
    if bundle.config.data.dims == 3:
        return list(bundle.config.data.sample_size)
    generator = restore_generator(bundle, _DIRECTION)
    divisor, minimum = int(generator.divisor), int(generator.minimum_size)  # type: ignore[arg-type]
    more = -(-minimum // divisor) - 1
    return [f"{divisor}*({letter}+{more})" for letter in "np"]


def _tensor(bundle: Bundle, place: int, shape: list[Any]) -> dict[str, Any]:
    """The network's input (place 0) or output (1), as the specification describes tensors."""
    channels = _channels(bundle)[place]
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": channels,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": bundle.config.data.dims == 3,
        "channel_def": {
            str(index): f"{DOMAINS[_DIRECTION][place]} {index}" for index in range(channels)
        },
    }


def _channels(bundle: Bundle) -> tuple[int, int]:
    """Channels that the network takes and gives."""
    return generator_channels(bundle.config, bundle.channels, _DIRECTION)


def _inference(bundle: Bundle) -> dict[str, Any]:
    generator = bundle.config.generator
    taken, given = _channels(bundle)
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "direction": _DIRECTION,
        "precision": "auto",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "network_def": {
            "_target_": f"medstyle_gan.networks.{GENERATORS[generator.name].__name__}",
            "in_channels": taken,
            "out_channels": given,
            "dims": bundle.config.data.spatial_dims,
            **generator.model_dump(mode="json", exclude={"name", "background"}),
        },
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "inferer": {
            "_target_": "medstyle_gan.inference.TranslateStyled",
            "keys": "image",
            "model": "$@bundle_root + '/models'",
            "direction": "@direction",
            "device": "$str(@device)",
            "precision": "@precision",
        },
        "preprocessing": {
            "_target_": "LoadImaged",
            "keys": "image",
            "ensure_channel_first": True,
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "evaluator": {
            "_target_": "medstyle_gan.inference.FolderEvaluator",
            "translator": "$@inferer.translator",
            "dataset_dir": "@dataset_dir",
            "output_dir": "@output_dir",
            "direction": "@direction",
        },
        "run": ["$@evaluator.run()"],
    }


def _readme(bundle: Bundle) -> str:
    kinds = {name: "pictures" if p else f"{name} volumes" for name, p in bundle.pictures.items()}
    return _README.format(
        name="medstyle_gan translation",
        scan=kinds["scan"],
        style=kinds["style"],
        version=medstyle_gan.__version__,
        method=bundle.config.method.name,
        steps=bundle.steps,
        hash=bundle.hash,
        way_back=_WAY_BACK if len(bundle.directions) > 1 else "",
    )
