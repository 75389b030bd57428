from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medstyle_gan.errors import UserError
from medstyle_gan.training.run_record import (
    describe_differences,
    made_with,
    record_start,
    refuse_changed_data,
)


@pytest.fixture
def facts() -> dict[str, Any]:
    return made_with(torch.device("cpu"), "fp32", processes=1)


def fingerprint(**style: Any) -> dict[str, Any]:
    one = {
        "volumes": 4,
        "subjects": 3,
        "validation_subjects": 1,
        "contents": "abc",
        "validation_contents": "def",
    }
    return {"scan": dict(one), "style": one | style}


def test_facts_are_those_that_roundings_depend_on(facts: dict[str, Any]) -> None:
    versions, machine = facts["versions"], facts["machine"]
    assert {"python", "torch", "lightning", "monai", "medstyle_gan"} <= versions.keys()
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert machine["precision"] == "fp32"
    assert machine["threads"] == torch.get_num_threads()
    assert machine["device"]
    assert socket.gethostname() not in str(facts)


def test_each_start_adds_an_entry_and_the_data_stays(tmp_path: Path, facts: Any) -> None:
    path = tmp_path / "run.yaml"
    record_start(path, 0, facts, fingerprint())
    record_start(path, 7, facts, fingerprint(contents="other"))
    record = yaml.safe_load(path.read_text())
    assert [start["step"] for start in record["starts"]] == [0, 7]
    assert all(start["versions"] == facts["versions"] for start in record["starts"])
    assert record["data"] == fingerprint()


@pytest.mark.parametrize("content", ["", "- a list", "starts: 3\ndata: {}", "{", "data: {}"])
def test_unreadable_record_is_refused_and_left(tmp_path: Path, facts: Any, content: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"run\.yaml: not a readable record"):
        record_start(path, 0, facts, fingerprint())
    assert path.read_text() == content


def test_nothing_is_told_where_nothing_differs(facts: dict[str, Any]) -> None:
    assert describe_differences(facts, made_with(torch.device("cpu"), "fp32", 1)) is None


def test_other_versions_and_machines_are_told(facts: dict[str, Any]) -> None:
    before = {
        "versions": facts["versions"] | {"torch": "1.0"},
        "machine": facts["machine"] | {"precision": "bf16"},
    }
    told = describe_differences(before, facts)
    assert told is not None
    assert f"torch 1.0 → {facts['versions']['torch']}" in told
    assert "precision bf16 → fp32" in told
    assert "not bit for bit" in told


@pytest.mark.parametrize(
    "change", [{"contents": "x"}, {"validation_contents": "x"}, {"validation_contents": None}]
)
def test_changed_collection_is_named_with_what_to_do(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="the style collection is not the one") as caught:
        refuse_changed_data(fingerprint(), fingerprint(**change))
    assert "scan collection" not in str(caught.value)
    assert "Put the files back" in str(caught.value)


def test_same_collections_pass() -> None:
    refuse_changed_data(fingerprint(), fingerprint(quantiles=[1.0]))
