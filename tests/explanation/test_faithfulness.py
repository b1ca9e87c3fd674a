"""Worth of heat maps: a network that looks at one corner, one that looks nowhere, and shuffled weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reslab.explanation.faithfulness import STEPS, Worth, areas, blur, measure_worth
from reslab.explanation.heat_map import HeatMaps, heat_maps

SIDE = 32


class Corner(nn.Module):
    """Class 1 if the top left quarter is bright; the maps of `maps` are the image itself."""

    def __init__(self, size: int = SIDE // 2, scale: float = 4.0) -> None:
        super().__init__()
        self.maps, self.scale = nn.Conv2d(3, 1, 4, 4, bias=False), nn.Parameter(torch.tensor(scale))
        self.maps.weight.data.fill_(1 / 48)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        cells = self.maps(x)[:, 0, : self.size // 4, : self.size // 4]
        score = self.scale * cells.mean((1, 2))
        return torch.stack([-score, score], 1)


def bright_images(count: int = 6) -> Tensor:
    noise = 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    noise[:, :, : SIDE // 2, : SIDE // 2] += 1
    return noise


def maps_of(corner: bool, count: int = 6) -> HeatMaps:
    maps = torch.zeros(count, 8, 8)
    maps[:, :4, :4] = float(corner)
    maps[:, 4:, 4:] = float(not corner)
    return HeatMaps(maps, "maps", torch.ones(count, dtype=torch.long), torch.zeros(count, 2))


def test_a_map_of_what_the_network_needs_is_better() -> None:
    worth = measure_worth(Corner(), bright_images(), maps_of(corner=True), randomize=False)
    assert all(worth.beats_both)
    assert worth.verdict == "better than the middle"
    assert "On 6 of 6 photos" in str(worth)


def test_a_map_of_another_place_is_no_better_than_chance() -> None:
    worth = measure_worth(Corner(), bright_images(), maps_of(corner=False), randomize=False)
    assert not any(worth.beats_both)
    assert worth.verdict == "no better than chance"


def test_random_weights_are_told_no_better_than_chance() -> None:
    network = Corner(scale=1e-3)  # no part of the picture changes the probability
    images = bright_images()
    worth = measure_worth(network, images, heat_maps(network, images, layer="maps"), randomize=False)
    assert worth.verdict == "no better than chance"
    assert "Do not trust them." in str(worth)


def test_a_photo_has_the_same_scores_in_any_company() -> None:
    network, images, found = Corner(), bright_images(), maps_of(corner=True)
    worth = measure_worth(network, images, found, randomize=False)
    part = HeatMaps(found.maps[3:], found.layer, found.classes[3:], found.logits[3:])
    alone = measure_worth(network, images[3:], part, randomize=False)
    assert alone.random_scores == pytest.approx(worth.random_scores[3:])
    assert alone.scores == pytest.approx(worth.scores[3:])


def test_shuffled_weights_change_the_maps_of_a_network_that_has_learned() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
        )
    images = bright_images()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    worth = measure_worth(network, images, heat_maps(network, images))
    assert worth.last_stage_correlation is not None
    assert worth.all_weights_correlation is not None
    assert -1 <= worth.all_weights_correlation < 0.9
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert worth == measure_worth(network, images, heat_maps(network, images))


def test_empty_maps_never_count_as_better() -> None:
    found = maps_of(corner=True)
    empty = HeatMaps(torch.zeros_like(found.maps), found.layer, found.classes, found.logits)
    worth = measure_worth(Corner(), bright_images(), empty, randomize=False)
    assert worth.as_json()["empty"] == 6
    assert worth.as_json()["beats_both"] == 0
    assert worth.verdict == "no better than chance"


@pytest.mark.parametrize(
    ("score", "random", "center", "photos", "verdict"),
    [
        (0.3, 0.0, 0.1, 4, "too few"),
        (0.3, 0.0, 0.1, 5, "better than the middle"),
        (0.3, 0.0, 0.4, 5, "no better than the middle"),
        (0.3, 0.0, 0.28, 5, "no better than the middle"),
        (0.01, 0.0, 0.0, 100, "no better than chance"),
    ],
)
def test_verdicts(score: float, random: float, center: float, photos: int, verdict: str) -> None:
    worth = Worth((score,) * photos, (random,) * photos, (center,) * photos, (False,) * photos)
    assert worth.verdict == verdict


@pytest.mark.parametrize(
    ("wins", "gain", "sentence"),
    [
        (3, 0.1, "no better than pointing at the middle: they win on only 3 of 10 photos."),
        (7, 0.1, "not certain that the maps are better than pointing at the middle: 7 of 10 photos are not"),
        (9, 0.02, "no better than pointing at the middle: their mean score is 0.016 higher, and 0.03"),
        (9, 0.1, "on 9 the middle of the photo, on 9 both. The maps show what the network looks at."),
    ],
)
def test_the_verdict_agrees_with_the_counts(wins: int, gain: float, sentence: str) -> None:
    center = tuple(0.3 - gain if i < wins else 0.3 + gain for i in range(10))
    worth = Worth((0.3,) * 10, (0.0,) * 10, center, (False,) * 10)
    assert f"On 10 of 10 photos the heat map beats a random map, on {wins} the middle" in str(worth)
    assert sentence in str(worth)


def test_a_photo_of_one_color_cannot_be_judged() -> None:
    images = bright_images()
    images[:2] = torch.tensor([0.5, 0.2, 1.0]).view(3, 1, 1)
    worth = measure_worth(Corner(), images, maps_of(corner=True), randomize=False)
    assert worth.judged == (False, False, True, True, True, True)
    assert worth.beats_random[:2] == worth.beats_center[:2] == (False, False)
    assert "2 cannot be judged" in str(worth)


def test_areas_are_mean_heights() -> None:
    assert float(areas(torch.ones(STEPS + 1))) == pytest.approx(1)
    assert float(areas(torch.linspace(0, 1, STEPS + 1))) == pytest.approx(0.5)


@pytest.mark.parametrize("side", [8, 33])
def test_blur_keeps_the_size_and_the_mean(side: int) -> None:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert blur(images).shape == images.shape
    assert float(blur(images).std()) < float(images.std())
