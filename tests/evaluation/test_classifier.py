"""Classifier: the same prediction for every kind of input, labels by name, figures over all photos."""

import copy
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn
from torchvision import transforms

import reslab.evaluation.classifier as module
from reslab import Photos
from reslab.errors import ClassifierError, PhotosError, RecipeError, UsageError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.coverage import Coverage
from reslab.evaluation.photo_paths import expand_paths
from reslab.networks.registry import NetworkSpec
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

PREPROCESS = Preprocess(size=32, resize=36)


def photos_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def red_or_blue(classes: tuple[str, ...] = ("blue", "red"), temperature: float = 1.0) -> Classifier:
    """A random network whose last layer separates red from blue, with some errors."""
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", len(classes), 3)
    network = spec.build().eval()
    with torch.no_grad():
        colors = [torch.tensor(c).view(1, 3, 1, 1).float() for c in ((60, 90, 170), (170, 90, 60))]
        features = [network[:-1](PREPROCESS.normalize(c.expand(1, 3, 32, 32))) for c in colors]
        towards = features[1] - features[0]
        head = network.get_submodule("fc")
        head.weight.zero_()
        head.bias.zero_()
        for sign, name in ((-1, "blue"), (1, "red")):
            head.weight[classes.index(name)] = sign * 4 * towards[0] / towards.norm() ** 2
            head.bias[classes.index(name)] = (
                -sign * 2 * ((features[0] + features[1]) @ towards.T).item() / (towards.norm() ** 2)
            )
    return Classifier(network, classes, PREPROCESS, spec, temperature)


def test_probabilities_equal_those_of_torchvision_and_torch(
    photo_folder: Callable[..., Path],
) -> None:
    classifier = red_or_blue(temperature=2.0)
    reference = transforms.Compose(
        [
            transforms.Resize(36),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    for path in photos_in(photo_folder(test=6)):
        with torch.no_grad():
            logits = classifier.network(reference(Image.open(path).convert("RGB"))[None])[0]
        expected = (logits / 2).softmax(0)
        found = classifier.predict(path)
        assert found.label == classifier.classes[int(expected.argmax())]
        assert found.probability == pytest.approx(float(expected.max()), abs=1e-5)
        assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
        assert sum(found.probabilities.values()) == pytest.approx(1)


def test_a_path_a_string_bytes_and_an_image_give_the_same_prediction(
    photo_folder: Callable[..., Path],
) -> None:
    classifier = red_or_blue()
    path = photos_in(photo_folder(test=2))[0]
    found = [classifier.predict(p) for p in (path, str(path), path.read_bytes(), Image.open(path))]
    assert len({(answer.label, answer.probability) for answer in found}) == 1
    assert [answer.path for answer in found] == [str(path), str(path), "photo", "image"]
    (row,) = classifier.predict_all([path])
    assert row == found[0]


def odd_files(folder: Path) -> dict[str, Path]:
    """Photos whose orientation, palette, profile or depth a careless conversion would lose."""
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    pixels[:, :20] = 250
    image = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    files = {name: folder / name for name in ("turned.jpg", "cmyk.jpg", "p.gif", "la.png", "lab.tif")}
    image.save(files["turned.jpg"], exif=turned)
    image.convert("CMYK").save(files["cmyk.jpg"])
    image.quantize(16).save(files["p.gif"], transparency=3)
    image.convert("LA").save(files["la.png"])
    image.convert("RGB").save(files["lab.tif"], icc_profile=profile)
    files["deep.png"] = folder / "deep.png"
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(files["deep.png"])
    return files


@pytest.mark.parametrize("name", ["turned.jpg", "cmyk.jpg", "p.gif", "la.png", "lab.tif", "deep.png"])
def test_an_opened_image_gives_the_prediction_of_its_file(name: str, tmp_path: Path) -> None:
    path, classifier = odd_files(tmp_path)[name], red_or_blue()
    assert classifier.predict(Image.open(path)).probability == classifier.predict(path).probability


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV", "F", "I", "RGBa", "CMYK", "LAB"])
def test_an_image_of_any_mode_is_predicted_and_unchanged(mode: str) -> None:
    image = Image.new("RGBA" if mode == "RGBa" else "RGB", (40, 40), "white")
    for step in {"F": "LF", "I": "LI", "LAB": ""}.get(mode, [mode]):
        image = image.convert(step)
    before = image.copy()
    assert red_or_blue().predict(image).label in ("blue", "red")
    assert (image.mode, image.tobytes()) == (before.mode, before.tobytes())


def test_a_damaged_photo_raises_for_every_kind_of_input(photo_folder: Callable[..., Path]) -> None:
    classifier = red_or_blue()
    content = photos_in(photo_folder(test=2))[0].read_bytes()
    half = content[: len(content) // 2]
    for photo in ("missing.jpg", Path("missing.jpg"), b"", half, Image.open(io.BytesIO(half))):
        with pytest.raises(PhotosError):
            classifier.predict(photo)


def test_photos_of_several_batches_come_in_order_and_as_one_by_one(photo_folder: Callable[..., Path]) -> None:
    classifier = red_or_blue()
    paths = photos_in(photo_folder(test=130))
    order = list(np.random.default_rng(0).permutation(130))
    rows = list(classifier.predict_all([paths[i] for i in order]))
    assert [row.path for row in rows] == [str(paths[i]) for i in order]
    assert {row.label for row in rows} == {"blue", "red"}
    for row in rows[::9]:  # some of each batch of 64
        alone = classifier.predict(row.path)
        assert alone.label == row.label
        assert alone.probability == pytest.approx(row.probability, abs=1e-5)


def test_a_photo_that_cannot_be_read_gets_its_error(photo_folder: Callable[..., Path]) -> None:
    classifier = red_or_blue()
    paths = photos_in(photo_folder(test=70))
    mixed: list[Path | bytes] = [b"nothing", *paths[:64], Path("missing.jpg"), *paths[64:], b""]
    rows = list(classifier.predict_all(mixed))
    assert [i for i, row in enumerate(rows) if row.error] == [0, 65, 72]
    assert [row.path for row in rows if row.error] == ["photo 0", "missing.jpg", "photo 72"]
    assert rows[65].as_json().keys() == {"path", "error"}
    good = [(row.path, row.label) for row in rows if not row.error]
    assert good == [(row.path, row.label) for row in classifier.predict_all(paths)]
    assert list(classifier.predict_all([])) == []


def test_a_prediction_as_json(photo_folder: Callable[..., Path]) -> None:
    answer = red_or_blue().predict(photos_in(photo_folder(test=2))[1])
    content = json.loads(json.dumps(answer.as_json()))
    assert list(content) == ["path", "label", "probability", "probabilities"]
    assert content["probability"] == max(content["probabilities"].values())
    assert content["probabilities"][content["label"]] == content["probability"]


def test_a_threshold_marks_photos_as_not_sure(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=20) / "test"
    plain = list(red_or_blue().predict_all(photos_in(folder)))
    assert {row.sure for row in plain} == {None}
    assert "sure" not in plain[0].as_json()
    threshold = sorted(row.probability or 0 for row in plain)[7]
    strict = replace(red_or_blue(), reject_below=threshold)
    rows = list(strict.predict_all(photos_in(folder)))
    assert [row.sure for row in rows] == [(row.probability or 0) >= threshold for row in plain]
    assert [row.as_json() for row in rows] == [row.as_json() | {"sure": row.sure} for row in rows]
    assert [row.label for row in rows] == [row.label for row in plain]
    rejection = strict.evaluate(folder).rejection
    assert rejection is not None
    assert (rejection.reject_below, rejection.photos, rejection.coverage) == (threshold, 13, 13 / 20)
    assert replace(strict, reject_below=1.0).evaluate(folder).rejection == Coverage(
        1.0, 0, 0.0, None, None, None
    )


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_an_impossible_threshold_raises(threshold: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        replace(red_or_blue(), reject_below=threshold)


def test_evaluate_and_predict_agree_on_the_accuracy(photo_folder: Callable[..., Path]) -> None:
    classifier, folder = red_or_blue(), photo_folder(test=90) / "test"
    Image.new("RGB", (40, 40), (60, 90, 170)).save(folder / "red" / "blue as can be.jpg")
    found = classifier.evaluate(folder)
    rows = list(classifier.predict_all(photos_in(folder)))
    right = sum(row.label == Path(row.path).parent.name for row in rows)
    assert found.photos == len(rows) == 91
    assert found.accuracy == right / 91 < 1
    assert right > 60  # it can tell them apart, so an index error would show


def test_labels_are_matched_by_name_not_by_order(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=20) / "test"
    sorted_, reversed_ = red_or_blue(("blue", "red")), red_or_blue(("red", "blue"))
    more = red_or_blue(("aardvark", "red", "mole", "blue"))
    figures = [c.evaluate(folder) for c in (sorted_, reversed_, more)]
    assert figures[0].accuracy == figures[1].accuracy == figures[2].accuracy > 0.9
    assert figures[0].per_class == figures[1].per_class
    assert figures[2].per_class["aardvark"].photos == 0
    assert figures[2].per_class["blue"].photos == 10


def test_a_folder_with_photos_of_one_class_is_evaluated(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=20) / "test"
    for photo in photos_in(folder / "blue"):
        photo.unlink()
    found = red_or_blue().evaluate(folder)
    assert found.photos == found.per_class["red"].photos == 10
    assert found.per_class["red"].recall == found.accuracy > 0.9


def test_an_unknown_class_with_photos_is_refused(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(test=6) / "test"
    (folder / "green").mkdir()
    assert red_or_blue().evaluate(folder).photos == 6
    photos_in(folder)[0].rename(folder / "green" / "1.jpg")
    with pytest.raises(PhotosError, match=r"(?s)does not know: green.*trained on blue, red"):
        red_or_blue().evaluate(folder)


def test_the_test_split_is_evaluated_else_val(photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = photo_folder(train=40, val=6, test=8)
    classifier = red_or_blue()
    assert classifier.evaluate(folder).photos == classifier.evaluate(Photos(folder)).photos == 8
    assert classifier.evaluate(photo_folder("only test", test=4)).photos == 4
    assert classifier.evaluate(photo_folder("val and test", val=6, test=4)).photos == 4
    assert classifier.evaluate(photo_folder("only val", val=6)).photos == 6
    (photo_folder("empty test", val=6) / "test" / "red").mkdir(parents=True)
    assert classifier.evaluate(tmp_path / "empty test").photos == 6
    twins = photo_folder("twins", test=4)
    shutil.copytree(twins / "test", twins / "control")
    with pytest.raises(PhotosError, match="if test is a class"):
        classifier.evaluate(twins)
    without = photo_folder("without", train=40, val=6)
    assert classifier.evaluate(without).photos == classifier.evaluate(Photos(without)).photos == 6


def test_a_folder_and_photos_give_the_same_evaluation(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8, test=12)
    assert red_or_blue().evaluate(Photos(folder)) == red_or_blue().evaluate(folder)


def test_evaluate_skips_and_names_photos_that_cannot_be_read(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(test=6) / "test"
    expected = red_or_blue().evaluate(folder)
    assert (expected.unread, expected.unread_first) == (0, ())
    broken = folder / "blue" / "000 broken.jpg"  # sorts first, so that labels could shift
    broken.write_bytes(b"not a photo")
    found = red_or_blue().evaluate(folder)
    assert found.unread_first[0][0] == str(broken)
    assert replace(found, unread=0, unread_first=()) == expected
    assert str(found).startswith(f"{expected}; 1 could not be read: {broken}: its format is not one of JPEG")
    (folder / "red" / "empty.jpg").write_bytes(b"")
    found = red_or_blue().evaluate(folder)
    assert f"over 6 photos; 2 could not be read, the first: {broken}: its format is not one of" in str(found)
    content = json.loads(json.dumps(found.as_json()))
    assert (content["photos"], content["unread"]) == (6, 2)
    assert [row["path"] for row in content["unread_first"]] == [
        str(broken),
        str(folder / "red" / "empty.jpg"),
    ]


def test_evaluate_raises_if_no_photo_can_be_read(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=6) / "test"
    for path in photos_in(folder):
        path.write_bytes(b"not a photo")
    with pytest.raises(PhotosError, match=r"none of 6 photos can be read, the first is .*000\.jpg\n"):
        red_or_blue().evaluate(folder)


def test_evaluate_keeps_the_network_and_the_random_state(
    photo_folder: Callable[..., Path],
) -> None:
    folder, classifier = photo_folder(test=70) / "test", red_or_blue()
    network = classifier.network.train()
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    first, second = classifier.evaluate(folder), classifier.evaluate(folder)
    assert first == second
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(part.training for part in network.modules())


def test_a_classifier_keeps_the_modes_of_its_network() -> None:
    network = red_or_blue().network.train()
    network.get_submodule("layer1").eval()
    modes = [part.training for part in network.modules()]
    Classifier(network, ("blue", "red"), PREPROCESS)
    assert [part.training for part in network.modules()] == modes


def test_another_device_gets_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = red_or_blue()
    assert classifier.to("cpu").network is classifier.network
    monkeypatch.setattr(module, "choose_device", torch.device)  # every machine has the device meta
    moved = classifier.to("meta")
    assert {p.device.type for p in moved.network.parameters()} == {"meta"}
    assert {p.device.type for p in classifier.network.parameters()} == {"cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_raises() -> None:
    with pytest.raises(RecipeError, match=r"'cuda' is not available"):
        red_or_blue().to("cuda")
    with pytest.raises(RecipeError, match="no device 'gpu'"):
        red_or_blue().to("gpu")


def test_a_network_with_one_channel_gets_grey_images(photo_folder: Callable[..., Path]) -> None:
    preprocess = Preprocess(size=32, resize=36, channels=1, mean=GREY_MEAN, std=GREY_STD)
    classifier = Classifier(NetworkSpec("cifar_resnet20", 2, 1).build(), ("blue", "red"), preprocess)
    folder = photo_folder(test=6) / "test"
    assert classifier.evaluate(folder).photos == 6
    path = photos_in(folder)[0]
    grey = classifier.predict(Image.open(path).convert("L"))
    assert grey.probability == pytest.approx(classifier.predict(path).probability, abs=0.01)


class Fixed(nn.Module):
    """Returns the same logits for every photo."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


@pytest.mark.parametrize(
    ("logits", "match"),
    [((1.0, float("nan")), "not finite"), ((float("inf"), 0.0), "not finite"), ((1.0,), "1")],
)
def test_invalid_logits_raise(logits: tuple[float, ...], match: str) -> None:
    with pytest.raises(ClassifierError, match=match):
        Classifier(Fixed(*logits), ("a", "b"), PREPROCESS).predict(Image.new("RGB", (40, 40)))


def test_expand_paths_takes_files_folders_and_globs_once_and_in_order(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(test=6) / "test"
    monkeypatch.chdir(folder)
    (folder / "red" / "notes.txt").write_text("not a photo")
    every = [p.relative_to(folder) for p in photos_in(folder)]
    assert expand_paths(["."]) == every
    assert (
        expand_paths(["blue", "red"])
        == expand_paths(["*/*.jpg"])
        == expand_paths(["**/*.jpg"])
        == expand_paths(["*"])
        == every
    )
    assert expand_paths(["red/001.jpg", "red", "./red/001.jpg", "r*/*.jpg"]) == [
        p for p in every if p.parts[0] == "red"
    ]
    assert expand_paths(["red", "blue"])[0].parts[0] == "red"
    assert expand_paths(["red/notes.txt"]) == [Path("red/notes.txt")]  # named explicitly
    assert expand_paths([]) == []


def test_missing_and_odd_paths_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    odd = ["missing.jpg", "no*.jpg", "~nobody.jpg", "x" * 5000, "nul\0.jpg", os.fsdecode(b"\xff.jpg")]
    assert expand_paths(odd) == [Path(name) for name in odd]
    assert all(row.error for row in red_or_blue().predict_all(expand_paths(odd)))
    for name in ("img[1].jpg", "~mine.jpg", "a*b.jpg"):
        (tmp_path / name).touch()
        assert expand_paths([name]) == [Path(name)]
    assert expand_paths(["~/img[1].jpg"]) == [tmp_path / "img[1].jpg"]
