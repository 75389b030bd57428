from __future__ import annotations

import time

import numpy as np
import pytest

from medstyle_gan.config import load_config
from medstyle_gan.evaluation.chapter import TRANSLATION, Subject
from medstyle_gan.evaluation.context import EvaluationContext
from medstyle_gan.evaluation.efficiency import run, training_costs


@pytest.fixture
def subject() -> Subject:
    scan = np.zeros((50, 40, 10), np.float32)
    return Subject("subject 1", scan, np.ones(scan.shape, bool), False, (1.0, 1.0, 1.0))


def test_seconds_and_memory_are_of_the_call(subject: Subject) -> None:
    def slow(scan, mask):
        room = np.ones(60 * 2**20, np.uint8)  # bytes that are touched
        time.sleep(0.2)
        return scan * room[0]

    context = EvaluationContext(load_config(), parameters={"scan_to_style": 12})
    chapter = run([subject], {TRANSLATION: slow, "doing_nothing": lambda s, m: s}, context)
    values = {(f.name, f.candidate): f.value for f in chapter.figures}
    assert values["seconds", TRANSLATION] >= 0.2
    assert values["seconds", "doing_nothing"] < values["seconds", TRANSLATION]
    per = values["seconds_per_megavoxel", TRANSLATION]
    assert per == pytest.approx(values["seconds", TRANSLATION] / 0.02)
    assert values["peak_memory", TRANSLATION] > 60 / 1024
    assert values["parameters", TRANSLATION] == 12
    assert any("no run" in note for note in chapter.notes)


def test_training_costs_add_up() -> None:
    config = load_config(options={"training.batch_size": 2})
    rows = [
        {"step": 100.0, "samples_per_second": 4.0, "energy_joules": 1.8e6, "peak_memory_mib": 512},
        {"step": 300.0, "samples_per_second": 2.0, "energy_joules": 1.8e6, "peak_memory_mib": 2048},
        {"step": 300.0, "validation/psnr": 20.0},
    ]
    costs = {f.name: f.value for f in training_costs(EvaluationContext(config, metrics=rows))}
    assert costs == pytest.approx(
        {
            "training_steps": 300,
            "training_hours": (100 * 2 / 4 + 200 * 2 / 2) / 3600,
            "training_peak_memory": 2,
            "training_energy": 1,
        }
    )
