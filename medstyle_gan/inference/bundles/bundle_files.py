"""Bundles on disk: a folder of one description in YAML and the networks beside it, no pickle.

`model.yaml` holds the config, the intensity scales, what is known of the two collections,
versions and sha256 sums, which are checked at loading. The networks are the weights of the
generators, `generators.safetensors`, or a graph for each direction, `scan_to_style.onnx` and
`style_to_scan.onnx`. A MONAI bundle holds such a folder as its `models/`, a run as its `model/`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

import medstyle_gan
from medstyle_gan.config import Config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.intensity_map import IntensityMap
from medstyle_gan.data.words import DIRECTIONS
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle, Graph, model_hash, without_local_paths
from medstyle_gan.volumes.atomic import atomic_file

FORMAT_VERSION = 1
WEIGHTS_FILE = "generators.safetensors"
MODEL_FILE = "model.yaml"
GRAPH_FILES: dict[str, str] = {direction: f"{direction}.onnx" for direction in DIRECTIONS}

_PLACES = ("", "model", "models")


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle; each file under a temporary name first.

    Args:
        bundle: what to write, with weights or with graphs.
        folder: the bundle's folder, made where missing; a bundle in it is replaced.

    Returns:
        the folder.

    Raises:
        UserError: when the folder cannot be written.
    """
    folder = Path(folder)
    facts = {
        "format_version": FORMAT_VERSION,
        "hash": bundle.hash,
        "steps": int(bundle.steps),
        "vgg": bundle.vgg,
        "channels": bundle.channels,
        "scales": {name: scale.as_dict() for name, scale in bundle.scales.items()},
        "integer": bundle.integer,
        "background": bundle.background,
        "pictures": bundle.pictures,
        "versions": bundle.versions,
        "fingerprint": bundle.fingerprint,
        "intensity_map": None if bundle.intensity_map is None else bundle.intensity_map.values,
        "config": without_local_paths(bundle.config).model_dump(mode="json"),
    }
    networks: dict[str, bytes] = {}
    if bundle.graphs:
        facts["graphs"] = {name: _graph_facts(graph) for name, graph in bundle.graphs.items()}
        networks = {f"{name}.onnx": graph.model for name, graph in bundle.graphs.items()}
    else:
        state = {name: t.detach().cpu().contiguous() for name, t in bundle.state.items()}
        networks = {WEIGHTS_FILE: save(state)}
    text = yaml.safe_dump(_plain(facts), sort_keys=False)
    for name, content in networks.items():
        with atomic_file(folder / name) as file:
            file.write(content)
    # The description last: with a hash that fits, or the bundle does not load.
    with atomic_file(folder / MODEL_FILE) as file:
        file.write(text.encode())
    return folder


def find_bundle(model: str | Path) -> Path:
    """The folder with `model.yaml` that a MODEL argument means.

    Args:
        model: a bundle's folder of any format, or a run folder with a `model/` in it.

    Raises:
        UserError: when it is neither.
    """
    path = Path(model)
    if not path.exists():
        raise UserError(
            f"{path}: no such model folder; give a run folder of medstyle train or an exported "
            "bundle"
        )
    if not path.is_dir():
        raise UserError(
            f"{path}: a model is a folder: give the run folder that medstyle train wrote"
        )
    for folder in (path / place for place in _PLACES):
        if (folder / MODEL_FILE).is_file() and (_has_weights(folder) or _has_graphs(folder)):
            return folder
    if (path / "checkpoints").is_dir():
        raise UserError(
            f"{path}: this run has no model/ yet, its training did not end; finish it with "
            "medstyle train --resume, or make a bundle of a checkpoint with medstyle export "
            "--checkpoint last"
        )
    raise UserError(
        f"{path}: not a model folder (no {MODEL_FILE} with {WEIGHTS_FILE} or ONNX graphs, and no "
        "model/ with them); give a run folder of medstyle train or an exported bundle"
    )


def load_bundle(model: str | Path) -> Bundle:
    """Read a bundle and check that its networks are the ones that were written.

    Args:
        model: a bundle's folder of any format, or a run folder with a `model/` in it.

    Raises:
        UserError: for a folder that is no model, one written by a newer format, and one
            whose files are damaged.
    """
    folder = find_bundle(model)
    facts = _read_facts(folder / MODEL_FILE)
    state = _read_weights(folder / WEIGHTS_FILE) if _has_weights(folder) else {}
    try:
        bundle = Bundle(
            config=Config.model_validate(facts["config"]),
            state=state,
            channels={name: int(n) for name, n in facts["channels"].items()},
            scales={name: FittedScale.from_dict(s) for name, s in facts["scales"].items()},
            integer={name: bool(i) for name, i in facts["integer"].items()},
            background={name: float(b) for name, b in facts["background"].items()},
            steps=int(facts["steps"]),
            pictures={name: bool(p) for name, p in facts["pictures"].items()},
            fingerprint=dict(facts["fingerprint"]),
            versions=dict(facts["versions"]),
            graphs={} if state else _read_graphs(folder, facts["graphs"]),
            weights_hash=str(facts["hash"]),
            vgg=facts.get("vgg"),  # older ones do not say
            intensity_map=IntensityMap.read(facts.get("intensity_map")),  # likewise
            folder=folder,
        )
    except (KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{folder / MODEL_FILE}: not what medstyle train writes ({reason}); copy the model "
            "folder again"
        ) from error
    if state and model_hash(state) != bundle.weights_hash:
        raise UserError(
            f"{folder}: the weights in {WEIGHTS_FILE} are not those that {MODEL_FILE} was "
            "written with; copy the model folder again"
        )
    return bundle


def _has_weights(folder: Path) -> bool:
    return (folder / WEIGHTS_FILE).is_file()


def _has_graphs(folder: Path) -> bool:
    return any((folder / name).is_file() for name in GRAPH_FILES.values())


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: not readable ({error}); the file is damaged: copy the model folder again"
        ) from error


def _graph_facts(graph: Graph) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(graph.model).hexdigest(),
        "divisor": graph.divisor,
        "minimum_size": graph.minimum_size,
        "parameters": graph.parameters,
    }


def _read_graphs(folder: Path, facts: Mapping[str, Any]) -> dict[str, Graph]:
    graphs: dict[str, Graph] = {}
    for direction, known in facts.items():
        name = GRAPH_FILES[direction]
        try:
            model = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"{folder / name}: not readable ({error.strerror})") from error
        if hashlib.sha256(model).hexdigest() != known["sha256"]:
            raise UserError(
                f"{folder / name}: not the graph that {MODEL_FILE} was written with; copy the "
                "model folder again"
            )
        graphs[direction] = Graph(
            model, int(known["divisor"]), int(known["minimum_size"]), int(known["parameters"])
        )
    return graphs


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable ({error}); copy the model folder again") from error
    found = facts.get("format_version") if isinstance(facts, dict) else None
    if not isinstance(found, int):
        raise UserError(f"{path}: not the description of a model (no format_version)")
    if found > FORMAT_VERSION:
        raise UserError(
            f"{path}: model format {found} is newer than this medstyle_gan "
            f"{medstyle_gan.__version__} knows ({FORMAT_VERSION}); update medstyle-gan"
        )
    return dict(facts)


def _plain(facts: Mapping[str, Any]) -> Any:
    """The same facts in types that YAML knows: numpy numbers, arrays and tuples turned."""

    def turn(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"a bundle cannot hold a {type(value).__name__}")

    return json.loads(json.dumps(facts, default=turn))
