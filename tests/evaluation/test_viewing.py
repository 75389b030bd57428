from __future__ import annotations

import gzip
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import viewing
from medstyle_gan.evaluation.viewing import read_viewer, volumes_within
from tests.evaluation.phantom_subjects import all_candidates, phantom_subject


def test_volumes_are_niftis_of_a_byte_a_voxel() -> None:
    subjects = [phantom_subject(seed, (32, 32, 8)) for seed in (0, 1)]
    candidates = all_candidates("true", subjects)
    found = volumes_within(subjects, candidates, 2**20)
    assert [volumes.name for volumes in found] == ["subject 0", "subject 1"]
    assert list(found[0].files) == ["scan", "translation", "truth"]
    image = nib.Nifti1Image.from_bytes(gzip.decompress(found[0].files["truth"]))
    np.testing.assert_allclose(
        np.asarray(image.dataobj) / 127.5 - 1, subjects[0].truth, atol=0.5 / 127.5 + 1e-6
    )
    np.testing.assert_allclose(image.header.get_zooms(), subjects[0].spacing, rtol=1e-6)
    assert found == volumes_within(subjects, candidates, 2**20)


def test_only_what_fits() -> None:
    subjects = [phantom_subject(seed, (32, 32, 8)) for seed in (0, 1)]
    candidates = all_candidates("true", subjects)
    size = sum(map(len, volumes_within(subjects[:1], candidates, 2**20)[0].files.values()))
    assert len(volumes_within(subjects, candidates, size)) == 1
    assert not volumes_within(subjects, candidates, size - 1)


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read"), ("x = 1", "is not NiiVue")]
)
def test_another_script_is_refused(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "niivue.umd.js"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=told):
        read_viewer(path)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(viewing, "distribution", missing)
    with pytest.raises(UserError, match=r"medstyle-gan\[viewer\].*--niivue FILE"):
        read_viewer()


@pytest.mark.parametrize(
    ("module", "gives"),
    [
        (
            'var t2=class{};log("Creating new Niivue instance");let B=o??{},C=f(B);v=new t2(C)};'
            "export{Ih as default};\n",
            "globalThis.niivue={Niivue:t2};",
        ),
        ("export{Ih as default};", None),
        ('console.log("Creating new Niivue instance");v=new t2(C)', None),
    ],
)
def test_the_class_is_taken_out_of_the_widget_or_the_version_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, gives: str | None
) -> None:
    class Package:
        version = "9.9"

        def locate_file(self, name: str) -> Path:
            return tmp_path / Path(name).name

    (tmp_path / "widget.js").write_text(module)
    monkeypatch.setattr(viewing, "distribution", lambda name: Package())
    if gives is None:
        with pytest.raises(UserError, match=r"ipyniivue 9\.9"):
            read_viewer()
    else:
        assert read_viewer().endswith(gives)
