from __future__ import annotations

import numpy as np

from medstyle_gan.evaluation.report import views_montage
from medstyle_gan.evaluation.views import view_subject
from tests.evaluation.phantom_subjects import all_candidates, phantom_subject


def test_every_plane_and_the_difference_in_colour() -> None:
    subject = phantom_subject(0, (48, 48, 8))
    views = view_subject(subject, all_candidates("nothing", [subject]))
    picture = views_montage(views)
    assert picture.mode == "RGB"
    assert not picture.info
    pixels = np.asarray(picture).astype(int)
    coloured = (np.ptp(pixels, axis=2) > 60).any(axis=0)  # of the columns
    left, right = np.array_split(coloured, [3 * len(coloured) // 4])
    assert not left.any()  # scan, translation and truth are grey
    assert right.any()
    assert picture.width > picture.height  # flat planes have flat rows
