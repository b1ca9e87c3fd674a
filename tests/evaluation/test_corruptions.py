"""Corruptions: a higher severity changes an image more, and a photo is corrupted in one way everywhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reslab.errors import UsageError
from reslab.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from reslab.hardware import threads


def scene(size: int, channels: int, seed: int, count: int = 1) -> Tensor:
    """Images with large and small structure, as photos have: areas with edges, smooth fields and detail."""
    generator = torch.Generator().manual_seed(seed)
    areas, *fields = (
        torch.nn.functional.interpolate(
            torch.rand(count, channels, cells, cells, generator=generator), (size, size), mode="bicubic"
        )
        for cells in (3, 5, 11, 23)
    )
    image = 0.4 * (areas > 0.5) + 0.3 * fields[0] + 0.2 * fields[1] + 0.1 * fields[2]
    return (image * 255).clamp(0, 255).to(torch.uint8)  # (count, channels, size, size)


def change(before: Tensor, after: Tensor) -> float:
    return (after.float() - before.float()).abs().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=4)
@given(st.integers(32, 224), st.sampled_from([1, 3]), st.integers(0, 2**32))
def test_a_higher_severity_changes_an_image_more(name: str, size: int, channels: int, seed: int) -> None:
    images = scene(size, channels, seed, 2)
    changes = [change(images, corrupt(images, name, severity)) for severity in SEVERITIES]
    assert changes[0] > 0
    assert all(low <= high for low, high in zip(changes, changes[1:], strict=False)), changes


@pytest.mark.parametrize("name", CORRUPTIONS)
@settings(max_examples=3)
@given(st.integers(32, 96), st.sampled_from([1, 3]), st.integers(2, 5), st.sampled_from(SEVERITIES))
def test_the_batch_the_order_and_the_threads_do_not_matter(
    name: str, size: int, channels: int, count: int, severity: int
) -> None:
    images, random = scene(size, channels, 1, count), torch.get_rng_state()
    together = corrupt(images, name, severity)
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    assert torch.equal(torch.get_rng_state(), random)
    for i in reversed(range(count)):
        with threads(2):
            alone = corrupt(images[i : i + 1].contiguous(memory_format=torch.channels_last), name, severity)
        assert torch.equal(alone[0], together[i])


def test_keys_decide_about_the_random_numbers() -> None:
    images = scene(48, 3, 0).repeat(2, 1, 1, 1)
    for name in ("gaussian_noise", "shot_noise", "impulse_noise", "motion_blur", "fog", "snow"):
        same, other = corrupt(images, name, 3, [5, 5]), corrupt(images, name, 3, [5, 6])
        assert torch.equal(same[0], same[1]), name
        assert torch.equal(same[0], other[0]), name
        assert not torch.equal(other[0], other[1]), name


def test_lengths_scale_with_the_image() -> None:
    large = scene(224, 3, 3)
    small = torch.nn.functional.avg_pool2d(large.float(), 2).round().to(torch.uint8)
    for name in ("defocus_blur", "zoom_blur", "motion_blur", "rotation"):
        shrunk = torch.nn.functional.avg_pool2d(corrupt(large, name, 4, [1]).float(), 2)
        assert change(shrunk, corrupt(small, name, 4, [1])) < 0.2 * change(small, shrunk), name


def test_an_unknown_corruption_or_severity_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'fog'"):
        corrupt(scene(32, 3, 0), "fogg", 1)
    with pytest.raises(UsageError, match="severity 6"):
        corrupt(scene(32, 3, 0), "fog", 6)
