"""Marks and file properties that only one class has are found, and clean photos give no alarm."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import reslab
from reslab.pages import check_report
from reslab.photos.checking.class_leaks import (
    GRID,
    GRID_PIXELS,
    MIN_SAMPLED_PHOTOS,
    SAMPLED_PHOTOS,
    Sample,
    find_class_leaks,
    is_sampled,
    place_scores,
    sampled_share,
)
from reslab.photos.checking.class_recall import MISTAKEN_SHARE
from reslab.photos.checking.findings import FilePropertyBetraysClass, Finding, PlaceBetraysClass
from reslab.photos.checking.photo_stats import square_pixels
from reslab.photos.checking.quick_check import quick_check, warning
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.unreadable import skip_unreadable

CORNERS = {
    "top left": (1, 1),
    "top right": (1, GRID),
    "bottom left": (GRID, 1),
    "bottom right": (GRID, GRID),
}
LEAKS = (PlaceBetraysClass, FilePropertyBetraysClass)
Samples = list[Sample]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reslab.make_drawings(tmp_path_factory.mktemp("drawn") / "photos", train=160, test=2)


@pytest.fixture(scope="module")
def clean(drawn: Path) -> Samples:
    paths = sorted((drawn / "train").rglob("*.jpg"))
    return [
        Sample(
            path.parent.name,
            hashlib.blake2b(path.read_bytes()).digest(),
            square_pixels(Image.open(path)),
            None,
        )
        for path in paths
    ]


def of_class(samples: Samples, name: str) -> Samples:
    return [sample for sample in samples if sample.class_name == name]


def marked(samples: Samples, corner: str, share: float, name: str = "cat") -> Samples:
    """Draw a white square of 2 x 2 of 32 x 32 pixels into a corner of a share of a class."""
    count, result = round(share * len(of_class(samples, name))), list[Sample]()
    for sample in samples:
        if sample.class_name == name and count:
            pixels = np.frombuffer(sample.pixels, np.uint8).reshape(GRID_PIXELS, GRID_PIXELS, 3).copy()
            row, column = (1 if at == 1 else GRID_PIXELS - 3 for at in CORNERS[corner])
            pixels[row : row + 2, column : column + 2] = 255
            sample, count = sample._replace(pixels=pixels.tobytes()), count - 1
        result.append(sample)
    return result


def save_again(
    folder: Path, target: Path, change: Callable[[Image.Image, str, int], dict[str, object]]
) -> Path:
    """Save all photos again, with the options that `change` returns; it may draw on the image."""
    for path in sorted((folder / "train").rglob("*.jpg")):
        with Image.open(path) as image:
            image.load()
        options = {"format": "JPEG", "quality": 90} | change(image, path.parent.name, int(path.stem))
        new = target / path.parent.name / f"{path.stem}.{str(options['format']).lower()}"
        new.parent.mkdir(parents=True, exist_ok=True)
        image.save(new, **options)
    return target


def leaks(check: reslab.Check) -> Iterator[Finding]:
    return (finding for finding in check.findings if isinstance(finding, LEAKS))


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("corner", CORNERS)
def test_a_mark_in_a_corner_of_one_class_is_named(corner: str, share: float, clean: Samples) -> None:
    row, column = CORNERS[corner]
    found, places = find_class_leaks(marked(clean, corner, share), "train")
    (finding,) = found
    assert isinstance(finding, PlaceBetraysClass)
    assert (finding.path, finding.split) == (None, "train")
    assert finding.why.startswith(f"row {row}, column {column} of 8 x 8, {corner} corner: ")
    assert places is not None
    index, at_row, at_column = places.best
    assert (at_row + 1, at_column + 1) == (row, column)
    assert places.recall.share[index, at_row, at_column] >= 0.8 * share
    if share < 1:
        assert finding.class_name == "cat"


def test_clean_photos_and_shuffled_labels_give_no_alarm(clean: Samples) -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        found, places = find_class_leaks(clean, "train")
        assert found == []
        assert places is not None
        assert places.classes == ("cat", "dog")
        names = generator.permutation([sample.class_name for sample in clean])
        clean = [sample._replace(class_name=name) for sample, name in zip(clean, names, strict=True)]


def test_a_place_that_tells_as_much_as_the_middle_is_no_finding(photo_folder: Callable[..., Path]) -> None:
    check = reslab.check(photo_folder(train=60, test=2))  # red and blue photos
    assert check.findings == ()
    assert check.places is not None
    assert check.places.recall.share.min() > 0.95


def test_a_mark_of_one_of_three_classes_names_that_class(clean: Samples) -> None:
    cats = of_class(clean, "cat")
    three = [sample._replace(class_name="bird") for sample in cats[::2]] + cats[1::2] + of_class(clean, "dog")
    found, _ = find_class_leaks(marked(three, "top right", 1.0, "bird"), None)
    assert [(finding.kind, finding.class_name) for finding in found] == [
        ("a place betrays the class", "bird")
    ]
    assert found[0].place == "bird"


def test_classes_of_a_few_photos_are_not_judged(clean: Samples) -> None:
    few = marked(of_class(clean, "cat")[:9] + of_class(clean, "dog"), "top left", 1.0)
    assert find_class_leaks(few, None) == ([], None)
    copies = [few[0]] * 50 + few[9:]
    assert find_class_leaks(copies, None) == ([], None)  # equal files count once


def test_recall_is_near_that_of_logistic_regression(clean: Samples) -> None:
    samples = marked(clean, "top left", 0.5)
    pixels = np.stack([np.frombuffer(sample.pixels, np.uint8) for sample in samples])
    pixels = pixels.reshape(-1, GRID_PIXELS, GRID_PIXELS, 3)
    labels = np.array([sample.class_name == "cat" for sample in samples]).astype(np.int64)
    scores = place_scores(pixels, labels, ("dog", "cat"))
    side = GRID_PIXELS // GRID
    for row, column in ((0, 0), (0, GRID - 1), (4, 4)):
        place = pixels[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        model = LogisticRegression(C=1.0, max_iter=1000)
        chances = cross_val_predict(
            model, place.reshape(len(pixels), -1) / 255, labels, method="predict_proba"
        )[:, 1]
        threshold = np.quantile(chances[labels == 0], 1 - MISTAKEN_SHARE, method="higher")
        expected = (chances[labels == 1] > threshold).mean()
        assert scores.recall.share[1, row, column] == pytest.approx(expected, abs=0.12)


def test_a_sample_of_a_share_is_part_of_that_of_a_larger_one() -> None:
    digests = [hashlib.blake2b(str(i).encode(), digest_size=16).digest() for i in range(4000)]
    small, large = ({d for d in digests if is_sampled(d, share)} for share in (0.1, 0.3))
    assert small < large
    assert len(small) == pytest.approx(400, abs=80)
    assert sampled_share(10, 2) == 1.0
    assert sampled_share(500_000, 2) * 500_000 == SAMPLED_PHOTOS / 2
    assert sampled_share(1000, 1000) * 1000 == MIN_SAMPLED_PHOTOS


def mark_half_of_the_cats(image: Image.Image, name: str, number: int) -> dict[str, object]:
    if name == "cat" and number % 2:
        side = image.width // 10
        ImageDraw.Draw(image).rectangle((image.width - side, 0, image.width, side), fill=(200, 30, 40))
    return {}


@pytest.mark.slow
def test_check_and_train_name_the_marked_corner(drawn: Path, tmp_path: Path) -> None:
    folder = save_again(drawn, tmp_path / "photos", mark_half_of_the_cats)
    photos = reslab.Photos(folder)
    readable = skip_unreadable(photos, Preprocess(size=64, resize=72), cache=True, progress=False)
    early = warning(quick_check(readable.photos, pixels=readable.pixels), "photos")  # before any check
    assert early.startswith(
        "WARNING: a place betrays the class: 1 found\n  train cat: row 1, column 8 of 8 x 8"
    )
    check = reslab.check(folder)
    (finding,) = leaks(check)
    assert finding.why.startswith("row 1, column 8 of 8 x 8, top right corner: 0.")
    assert check.spoils_training
    html = check_report.html(check)
    assert "The highest at the border is in row 1, column 8." in html
    assert html.count('<rect class="share"') == GRID * GRID


CHANGES: dict[str, Callable[[Image.Image, str, int], dict[str, object]]] = {
    "format": lambda _, name, __: {"format": "PNG"} if name == "cat" else {},
    "JPEG quantization": lambda _, name, __: {"quality": 60} if name == "cat" else {},
}


@pytest.mark.slow
@pytest.mark.parametrize("named", CHANGES)
def test_a_property_of_the_files_of_one_class_is_named(named: str, drawn: Path, tmp_path: Path) -> None:
    check = reslab.check(save_again(drawn, tmp_path / "photos", CHANGES[named]))
    (finding,) = leaks(check)
    assert isinstance(finding, FilePropertyBetraysClass)
    assert finding.why.startswith(f"{named}: 1.00 of the ")


@pytest.mark.slow
def test_real_photos_give_no_alarm(cats_dogs_natural: Path) -> None:
    assert list(leaks(reslab.check(cats_dogs_natural))) == []
