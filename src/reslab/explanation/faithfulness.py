"""Worth of heat maps: does the network need the places that they show, more than random ones or the middle?

Deletion and insertion (Petsiuk et al. 2018, section 3.2) remove the pixels of an image from the hottest on,
and bring them back in the same order. Randomized weights (Adebayo et al. 2018) tell a map of the network from
a map of the image alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reslab.evaluation.inference import batch_size_for, evaluating
from reslab.inspection.tracer import device_and_dtype
from reslab.randomness import key, permutation, uniforms_of_each

from .heat_map import HeatMaps, heat_maps, upsample

STEPS = 10  # a tenth of the pixels each
BLUR_FRACTION = 0.1  # standard deviation of the blur, of the image's side
MIN_GAIN = 0.03  # smallest mean difference of scores that counts, chosen by hand: scores go from -1 to 1
MIN_SPAN = 0.01  # of a photo's three scores; below it the order of the pixels hardly matters
MIN_DETAIL = 0.05  # range of a channel of a normalized image, about three of 256 gray levels
MAX_P = 0.05  # of the sign test


@dataclass(frozen=True)
class Worth:
    """Worth of the heat maps of some photos, compared with random maps and with the middle of the photo.

    A score is the area under the insertion curve minus the area under the deletion curve, -1 to 1: the mean
    probability of the class with the hottest pixels only, minus that without them.

    Attributes:
        scores: of the heat maps, one for each photo.
        random_scores: of a random map with the same number of cells, one for each photo.
        center_scores: of a map that is hottest in the middle, one for each photo.
        empty: True for each photo whose heat map is 0 everywhere. It does not count as better.
        last_stage_correlation: rank correlation of the maps with those after the last stage and later layers
            got random weights, mean over the photos; None if it was not measured.
        all_weights_correlation: the same, after all layers got random weights.
    """

    scores: tuple[float, ...]
    random_scores: tuple[float, ...]
    center_scores: tuple[float, ...]
    empty: tuple[bool, ...]
    last_stage_correlation: float | None = None
    all_weights_correlation: float | None = None

    @property
    def beats_random(self) -> tuple[bool, ...]:
        """True for each photo whose map scores higher than the random one."""
        return self._higher_than(self.random_scores)

    @property
    def beats_center(self) -> tuple[bool, ...]:
        """True for each photo whose map scores higher than the middle."""
        return self._higher_than(self.center_scores)

    @property
    def beats_both(self) -> tuple[bool, ...]:
        """True for each photo whose map scores higher than both."""
        return tuple(a and b for a, b in zip(self.beats_random, self.beats_center, strict=True))

    @property
    def judged(self) -> tuple[bool, ...]:
        """False for each photo whose three scores differ by less than 0.01, such as a photo of one color.

        The order of its pixels does not change the prediction. It does not count as better.
        """
        rows = zip(self.scores, self.random_scores, self.center_scores, strict=True)
        return tuple(max(row) - min(row) >= MIN_SPAN for row in rows)

    @property
    def verdict(self) -> str:
        """One of "better than the middle", "no better than the middle", "no better than chance", "too few".

        Better means a one-sided sign test over the photos with p under 5 %, and a mean difference of at least
        0.03. It takes five photos.
        """
        return self._judge()[0]

    def __str__(self) -> str:
        verdict, shortfall = self._judge()
        photos, unjudged = len(self.scores), self.judged.count(False)
        random, center, both = map(sum, (self.beats_random, self.beats_center, self.beats_both))
        noun = "photo" if photos == 1 else "photos"
        count = (
            f"On {random} of {photos} {noun} the heat map beats a random map, on {center} the middle of the "
            f"photo, on {both} both."
        )
        if unjudged:
            count += f" {unjudged} cannot be judged: the order of the pixels hardly changes the prediction."
        if shortfall is None:
            return f"{count} {SENTENCES[verdict]}."
        if shortfall.kind == "luck":
            return f"{count} {SENTENCES[verdict].replace('The maps are no', UNCERTAIN)}: {shortfall}."
        advice = " Do not trust them." if verdict == "no better than chance" else ""
        return f"{count} {SENTENCES[verdict]}: {shortfall}.{advice}"

    def as_json(self) -> dict[str, Any]:
        """Return the number of photos, the counts, the mean scores, the correlations and the verdict."""
        return {
            "photos": len(self.scores),
            "beats_random": sum(self.beats_random),
            "beats_center": sum(self.beats_center),
            "beats_both": sum(self.beats_both),
            "judged": sum(self.judged),
            "empty": sum(self.empty),
            "score": _mean(self.scores),
            "random_score": _mean(self.random_scores),
            "center_score": _mean(self.center_scores),
            "last_stage_correlation": self.last_stage_correlation,
            "all_weights_correlation": self.all_weights_correlation,
            "verdict": self.verdict,
            "shortfall": vars(shortfall) if (shortfall := self._judge()[1]) else None,
        }

    def _higher_than(self, others: tuple[float, ...]) -> tuple[bool, ...]:
        rows = zip(self.scores, others, self.empty, self.judged, strict=True)
        return tuple(score > other and judged and not empty for score, other, empty, judged in rows)

    def _judge(self) -> tuple[str, Shortfall | None]:
        """Return the verdict, and what it takes to be better than chance or the middle."""
        if 0.5 ** len(self.scores) >= MAX_P:
            return "too few", None
        for name, wins, others in (
            ("chance", self.beats_random, self.random_scores),
            ("the middle", self.beats_center, self.center_scores),
        ):
            if shortfall := _find_shortfall(wins, _mean(self.scores) - _mean(others)):
                return f"no better than {name}", shortfall
        return "better than the middle", None


@dataclass(frozen=True)
class Shortfall:
    """Reason of a verdict "no better".

    Attributes:
        kind: "wins": the maps are better on at most half of the photos; "luck": the sign test has a p of 5 %
            or more; "gain": the mean score is not 0.03 higher.
        wins: number of photos on which the maps are better.
        photos: number of photos.
        gain: mean score of the maps minus that of the other maps.
    """

    kind: str
    wins: int
    photos: int
    gain: float

    def __str__(self) -> str:
        if self.kind == "wins":
            return f"they win on only {self.wins} of {self.photos} photos"
        if self.kind == "luck":
            return f"{self.wins} of {self.photos} photos are not enough to exclude luck"
        direction = "higher" if self.gain >= 0 else "lower"
        return f"their mean score is {abs(self.gain):.3f} {direction}, and {MIN_GAIN} higher is the least"


def _find_shortfall(wins: tuple[bool, ...], gain: float) -> Shortfall | None:
    from scipy.stats import binomtest

    won, photos = sum(wins), len(wins)
    if 2 * won <= photos:
        kind = "wins"
    elif binomtest(won, photos, alternative="greater").pvalue >= MAX_P:
        kind = "luck"
    elif gain < MIN_GAIN:
        kind = "gain"
    else:
        return None
    return Shortfall(kind, won, photos, gain)


UNCERTAIN = "It is not certain that the maps are"
SENTENCES = {
    "too few": "Five photos or more give a verdict on the maps",
    "no better than chance": "The maps are no better than chance",
    "no better than the middle": "The maps are no better than pointing at the middle",
    "better than the middle": "The maps show what the network looks at",
}


def measure_worth(network: nn.Module, images: Tensor, found: HeatMaps, *, randomize: bool = True) -> Worth:
    """Measure the worth of heat maps by deletion, insertion and randomized weights.

    Every random number depends on the image alone, so a photo has the same scores in any company.

    Args:
        network: images -> logits (N, num_classes). It stays as it is.
        images: (N, C, H, W), normalized, on any device.
        found: their heat maps, from `heat_maps`.
        randomize: measure the correlation with maps of randomized weights, which takes two more passes.

    Raises:
        NetworkError: there is not enough memory, or the logits are not finite.
    """
    scores, random, center = zip(*_scores(network, images.cpu(), found), strict=True)
    worth = Worth(scores, random, center, tuple(found.empty.tolist()))
    if not randomize:
        return worth
    last_stage, all_weights = randomized_correlations(network, images, found)
    return replace(worth, last_stage_correlation=last_stage, all_weights_correlation=all_weights)


def _scores(network: nn.Module, images: Tensor, found: HeatMaps) -> Iterator[tuple[float, ...]]:
    """Yield the scores of the heat map, a random map and the middle for each image."""
    things = np.stack([_digest(image) for image in images])  # (N, 1)
    height, width = images.shape[2:]
    h, w = found.maps.shape[1:]
    noise = torch.from_numpy(uniforms_of_each(0, "random heat map", things=things, count=h * w))
    random = upsample(noise.view(-1, h, w).float(), (height, width))
    large = upsample(found.maps, (height, width))
    removed = removed_images(network, images, found.classes)
    for i, (image, background, class_index) in enumerate(zip(images, removed, found.classes, strict=True)):
        ties = np.random.Generator(np.random.Philox(key(int(things[i, 0]), "ties"))).random((height, width))
        order = torch.stack([rank(m, ties) for m in (large[i], random[i], _center(height, width))])
        curves = curve_probabilities(network, image, background, order, int(class_index))  # (2, 3, STEPS + 1)
        deletion, insertion = areas(curves)
        scores = insertion - deletion
        yield tuple((scores if _has_detail(image) else torch.zeros_like(scores)).tolist())


def _has_detail(image: Tensor) -> bool:
    """Return False for an image (C, H, W) of one color, where no place differs from another."""
    return bool((image.amax((1, 2)) - image.amin((1, 2)) > MIN_DETAIL).any())


def curve_probabilities(
    network: nn.Module, image: Tensor, removed: Tensor, ranks: Tensor, class_index: int
) -> Tensor:
    """Return the deletion and insertion curves of one image: float64 (2, R, STEPS + 1), deletion first.

    Args:
        image: (C, H, W), normalized.
        removed: (C, H, W), the image that shows through where pixels are removed.
        ranks: (R, H, W), 0 for the hottest pixel to 1 for the coldest, from R maps.
        class_index: class whose probability is returned.
    """
    cuts = torch.linspace(0, 1, STEPS + 1)[1:-1].view(-1, 1, 1, 1)  # (STEPS - 1, 1, 1, 1)
    hot = (ranks < cuts).flatten(0, 1)[:, None]  # (R * (STEPS - 1), 1, H, W)
    mixed = torch.cat([torch.where(hot, removed, image), torch.where(hot, image, removed)])
    p = probabilities(network, torch.cat([image[None], removed[None], mixed]))[:, class_index]
    inner = p[2:].view(2, STEPS - 1, len(ranks)).transpose(1, 2)  # (2, R, STEPS - 1)
    ends = p[:2, None, None].expand(2, len(ranks), 1)
    return torch.cat([ends, inner, ends.flip(0)], 2)


def areas(curves: Tensor) -> Tensor:
    """Return the areas under curves (..., STEPS + 1) by the trapezoidal rule, in units of the mean height."""
    return torch.trapezoid(curves, dim=-1) / (curves.shape[-1] - 1)


def probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """Return softmax probabilities of images (N, C, H, W), in eval mode: float64 (N, num_classes)."""
    device, dtype = device_and_dtype(network)
    with evaluating(network):
        batches = images.split(batch_size_for(max(images.shape[2:])))
        logits = torch.cat([network(batch.to(device, dtype)).double().cpu() for batch in batches])
    return logits.softmax(1)


def removed_images(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return what shows through where pixels are removed: (N, C, H, W).

    It is the blurred image or the mean color of the data, which normalized is 0: the one with the lower
    probability of the class. A network takes a gray picture for some class, and a photo of that class has
    nothing to lose to it.

    Args:
        images: (N, C, H, W), normalized.
        classes: (N,), as indices of the logits.
    """
    blurred = blur(images)
    gray = torch.zeros_like(images)
    p_blurred, p_gray = (
        probabilities(network, pictures).gather(1, classes[:, None]) for pictures in (blurred, gray)
    )  # (N, 1)
    return torch.where((p_blurred < p_gray)[..., None, None], blurred, gray)


def blur(images: Tensor) -> Tensor:
    """Return images (N, C, H, W) with a Gaussian blur that leaves colors and no shapes."""
    from torchvision.transforms.v2.functional import gaussian_blur

    sigma = BLUR_FRACTION * min(images.shape[2:])
    radius = min(round(2 * sigma), min(images.shape[2:]) - 1)
    return gaussian_blur(images, [2 * radius + 1, 2 * radius + 1], [sigma, sigma])


def rank(heat: Tensor, ties: NDArray[np.float64]) -> Tensor:
    """Return the rank of each pixel, 0 for the hottest, divided by the number of pixels: (H, W).

    Args:
        heat: (H, W).
        ties: (H, W), decides between equal values.
    """
    order = np.lexsort((ties.ravel(), -heat.numpy().ravel()))
    ranks = np.empty(order.size, np.float32)
    ranks[order] = np.arange(order.size) / order.size
    return torch.from_numpy(ranks.reshape(heat.shape))


def _center(height: int, width: int) -> Tensor:
    """Return a Gaussian at the middle, (height, width). Only the order of its values counts."""
    rows, columns = (torch.linspace(-1, 1, side) for side in (height, width))
    return torch.exp(-2 * (rows[:, None] ** 2 + columns**2))


def _digest(image: Tensor) -> NDArray[np.uint64]:
    import hashlib

    content = image.contiguous().numpy().tobytes()
    return np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), "<u8")


def randomized_correlations(network: nn.Module, images: Tensor, found: HeatMaps) -> tuple[float, float]:
    """Return how much the heat maps stay the same when weights become random: two mean rank correlations.

    The first randomizes the layer of the maps and all later ones, the second all layers (Adebayo et al. 2018,
    section 4). A weight tensor gets its own values in random order, so that the activations keep their
    scale.

    Returns:
        Spearman correlations over the positions of a map, mean over the images. A map without differences
        correlates 0.
    """
    modules = [name for name, _ in network.named_modules()]
    later = set(modules[modules.index(found.layer) :])
    names = [name for name, _ in network.named_parameters()]

    def correlation(randomized: list[str]) -> float:
        other = heat_maps(_shuffled(network, randomized), images, found.classes, found.layer)
        return _mean(_rank_correlations(found.maps, other.maps))

    return correlation([name for name in names if name.rpartition(".")[0] in later]), correlation(names)


def _shuffled(network: nn.Module, names: list[str]) -> nn.Module:
    """Return a copy of the network in which the weights of these names are permuted."""
    copied = copy.deepcopy(network)
    parameters = dict(copied.named_parameters())
    with torch.no_grad():
        for name in names:
            weights = parameters[name]
            order = torch.from_numpy(permutation(0, f"randomize {name}", count=weights.numel()))
            weights.copy_(weights.flatten()[order.to(weights.device)].view_as(weights))
    return copied


def _rank_correlations(first: Tensor, second: Tensor) -> tuple[float, ...]:
    """Return Spearman's correlation of each pair of maps (N, h, w); 0 where one is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(maps.flatten(1).numpy(), axis=1) for maps in (first, second))  # (N, h * w)
    a, b = (ranks - ranks.mean(1, keepdims=True) for ranks in (a, b))
    norms = np.sqrt((a**2).sum(1) * (b**2).sum(1))  # (N,)
    return tuple(np.divide((a * b).sum(1), norms, out=np.zeros(len(a)), where=norms > 0).tolist())


def _mean(values: tuple[float, ...]) -> float:
    return float(np.mean(values)) if values else float("nan")
