from __future__ import annotations

import numpy as np
import pytest
import torch

from medstyle_gan.methods.image_pool import ImagePool, merge_states


def numbered(step: int) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), float(step))


def test_pool_of_size_zero_hands_images_through() -> None:
    images = torch.rand(3, 1, 4, 4)
    assert ImagePool(0, seed=0).exchange(images, step=0) is images


def test_images_pass_unchanged_until_the_pool_is_full() -> None:
    pool = ImagePool(5, seed=0)
    for step in range(5):
        assert torch.equal(pool.exchange(numbered(step), step), numbered(step))


def test_full_pool_gives_half_past_images_and_each_of_them_once() -> None:
    pool = ImagePool(20, seed=1)
    given = [float(pool.exchange(numbered(step), step).mean()) for step in range(2000)]
    past = [value for step, value in enumerate(given[20:], 20) if value < step]
    assert 0.45 < len(past) / 1980 < 0.55
    # The 20 images that went into the empty pool were given out then, and once more later.
    later = [value for value in past if value >= 20]
    assert len(later) == len(set(later))


def test_choices_depend_on_seed_and_step_only() -> None:
    def run(seed: int) -> list[float]:
        pool = ImagePool(4, seed)
        return [float(pool.exchange(numbered(s), s).mean()) for s in range(60)]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_restored_pool_goes_on_as_if_it_had_never_stopped() -> None:
    through, stopped = ImagePool(4, seed=0), ImagePool(4, seed=0)
    for step in range(30):
        through.exchange(numbered(step), step)
        stopped.exchange(numbered(step), step)
    restored = ImagePool(4, seed=0)
    restored.load_state_dict(stopped.state_dict())
    for step in range(30, 60):
        expected = through.exchange(numbered(step), step)
        assert torch.equal(restored.exchange(numbered(step), step), expected)


@pytest.mark.parametrize("stored", [0, 2])
def test_state_holds_plain_tensors(stored: int) -> None:
    pool = ImagePool(4, seed=0)
    for step in range(stored):
        pool.exchange(numbered(step), step)
    images = pool.state_dict()["images"]
    assert [len(x) for x in images.values()] == ([stored] if stored else [])


def test_later_changes_of_an_image_do_not_reach_the_pool() -> None:
    pool = ImagePool(1, seed=0)
    image = numbered(1)
    pool.exchange(image, 0)
    image.zero_()
    assert float(pool.images[0][0].mean()) == 1


@pytest.mark.parametrize(("size", "places"), [(7, 4), (2, 4), (8, 4), (50, 1)])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_share_a_batch_see_what_one_would(
    size: int, places: int, processes: int
) -> None:
    whole = ImagePool(size, 3, max(places, processes))
    places = whole.places
    parts = [ImagePool(size, 3, places) for _ in range(processes)]
    own = places // processes
    for step in range(40):
        batch = torch.arange(places).reshape(-1, 1, 1, 1) + 100.0 * step
        expected = whole.exchange(batch, step)
        seen = [
            pool.exchange(batch[rank * own : (rank + 1) * own], step, rank * own)
            for rank, pool in enumerate(parts)
        ]
        assert torch.equal(torch.cat(seen), expected)
    assert not torch.equal(expected, batch)
    merged = merge_states(pool.state_dict() for pool in parts)["images"]
    alone = whole.state_dict()["images"]
    assert merged.keys() == alone.keys()
    assert all(torch.equal(merged[place], alone[place]) for place in alone)
    assert sum(len(x) for x in merged.values()) == size


def test_one_image_a_step_is_exchanged_as_in_the_paper() -> None:
    """By a plain reading of Shrivastava et al., section 2.3, with our keys."""
    stored: list[float] = []
    pool = ImagePool(5, seed=9)
    for step in range(60):
        expected = float(step)
        if len(stored) < 5:
            stored.append(expected)
        else:
            rng = np.random.Generator(np.random.Philox(key=[9, step << 16]))
            if rng.random() < 0.5:
                slot = int(rng.integers(5))
                expected, stored[slot] = stored[slot], expected
        assert float(pool.exchange(numbered(step), step).mean()) == expected


def test_a_process_forgets_the_places_of_others() -> None:
    pool = ImagePool(4, 0, places=4)
    pool.exchange(torch.zeros(4, 1, 2, 2), 0)
    pool.keep(range(2, 4))
    assert sorted(pool.images) == [2, 3]


def test_images_that_are_not_finite_are_not_kept() -> None:
    pool = ImagePool(3, seed=0)
    for step in range(40):
        bad = numbered(step) / (step % 2)  # infinite at every second step
        pool.exchange(bad, step)
    assert all(torch.isfinite(image).all() for stored in pool.images.values() for image in stored)
