"""Classifier: the same answer by every door, labels by name, figures over every photo."""

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
from reslab.errors import ClassifierError, PhotosError, RecipeError
from reslab.evaluation.classifier import Classifier, expand
from reslab.networks.registry import NetworkSpec
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

LOOK = Preprocess(size=32, resize=36)


def photos_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


def red_or_blue(classes: tuple[str, ...] = ("blue", "red"), temperature: float = 1.0) -> Classifier:
    """A random network, turned so that it tells red from blue: it answers "red" for both sometimes."""
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", len(classes), 3)
    network = spec.build().eval()
    with torch.no_grad():
        colors = [torch.tensor(c).view(1, 3, 1, 1).float() for c in ((60, 90, 170), (170, 90, 60))]
        features = [network[:-1](LOOK.normalize(c.expand(1, 3, 32, 32))) for c in colors]
        towards = features[1] - features[0]
        head = network.get_submodule("fc")
        head.weight.zero_()
        head.bias.zero_()
        for sign, name in ((-1, "blue"), (1, "red")):
            head.weight[classes.index(name)] = sign * 4 * towards[0] / towards.norm() ** 2
            head.bias[classes.index(name)] = (
                -sign * 2 * ((features[0] + features[1]) @ towards.T).item() / (towards.norm() ** 2)
            )
    return Classifier(network, classes, LOOK, spec, temperature)


def test_a_probability_is_what_torchvision_and_torch_make_of_the_photo(
    photo_folder: Callable[..., Path],
) -> None:
    classifier = red_or_blue(temperature=2.0)
    by_hand = transforms.Compose(
        [
            transforms.Resize(36),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    for path in photos_in(photo_folder(test=6)):
        with torch.no_grad():
            logits = classifier.network(by_hand(Image.open(path).convert("RGB"))[None])[0]
        expected = (logits / 2).softmax(0)
        found = classifier.predict(path)
        assert found.label == classifier.classes[int(expected.argmax())]
        assert found.probability == pytest.approx(float(expected.max()), abs=1e-5)
        assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
        assert sum(found.probabilities.values()) == pytest.approx(1)


def test_path_text_bytes_and_image_are_one_photo(photo_folder: Callable[..., Path]) -> None:
    classifier = red_or_blue()
    path = photos_in(photo_folder(test=2))[0]
    answers = [classifier.predict(p) for p in (path, str(path), path.read_bytes(), Image.open(path))]
    assert len({(answer.label, answer.probability) for answer in answers}) == 1
    assert [answer.path for answer in answers] == [str(path), str(path), "photo", "image"]
    (row,) = classifier.predict_all([path])
    assert row == answers[0]


def odd_files(folder: Path) -> dict[str, Path]:
    """Photos of every kind that a PIL image can lose something of on its way."""
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
def test_an_opened_image_of_any_kind_is_its_file(name: str, tmp_path: Path) -> None:
    path, classifier = odd_files(tmp_path)[name], red_or_blue()
    assert classifier.predict(Image.open(path)).probability == classifier.predict(path).probability


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV", "F", "I", "RGBa", "CMYK", "LAB"])
def test_an_image_of_any_mode_gets_an_answer_and_stays_as_it_was(mode: str) -> None:
    image = Image.new("RGBA" if mode == "RGBa" else "RGB", (40, 40), "white")
    for step in {"F": "LF", "I": "LI", "LAB": ""}.get(mode, [mode]):
        image = image.convert(step)
    before = image.copy()
    assert red_or_blue().predict(image).label in ("blue", "red")
    assert (image.mode, image.tobytes()) == (before.mode, before.tobytes())


def test_a_broken_photo_is_a_photos_error_by_every_door(photo_folder: Callable[..., Path]) -> None:
    classifier = red_or_blue()
    content = photos_in(photo_folder(test=2))[0].read_bytes()
    half = content[: len(content) // 2]
    for photo in ("missing.jpg", Path("missing.jpg"), b"", half, Image.open(io.BytesIO(half))):
        with pytest.raises(PhotosError):
            classifier.predict(photo)


def test_a_hundred_and_thirty_photos_come_in_order_and_as_if_alone(photo_folder: Callable[..., Path]) -> None:
    classifier = red_or_blue()
    paths = photos_in(photo_folder(test=130))
    order = list(np.random.default_rng(0).permutation(130))
    rows = list(classifier.predict_all([paths[i] for i in order]))
    assert [row.path for row in rows] == [str(paths[i]) for i in order]
    assert {row.label for row in rows} == {"blue", "red"}
    for row in rows[::9]:  # 64 to a batch: from each of them, and the neighbours change nothing
        alone = classifier.predict(row.path)
        assert alone.label == row.label
        assert alone.probability == pytest.approx(row.probability, abs=1e-5)


def test_a_bad_photo_gets_the_reason_and_moves_no_other(photo_folder: Callable[..., Path]) -> None:
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


def test_a_prediction_as_json_reads_back(photo_folder: Callable[..., Path]) -> None:
    answer = red_or_blue().predict(photos_in(photo_folder(test=2))[1])
    content = json.loads(json.dumps(answer.as_json()))
    assert list(content) == ["path", "label", "probability", "probabilities"]
    assert content["probability"] == max(content["probabilities"].values())
    assert content["probabilities"][content["label"]] == content["probability"]


def test_evaluate_and_predict_agree_on_the_accuracy(photo_folder: Callable[..., Path]) -> None:
    classifier, folder = red_or_blue(), photo_folder(test=90) / "test"
    Image.new("RGB", (40, 40), (60, 90, 170)).save(folder / "red" / "blue as can be.jpg")
    found = classifier.evaluate(folder)
    rows = list(classifier.predict_all(photos_in(folder)))
    right = sum(row.label == Path(row.path).parent.name for row in rows)
    assert found.photos == len(rows) == 91
    assert found.accuracy == right / 91 < 1
    assert right > 60  # it can tell them apart, so an index error would show


def test_labels_are_matched_by_name_and_never_by_order(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=20) / "test"
    forth, back = red_or_blue(("blue", "red")), red_or_blue(("red", "blue"))
    more = red_or_blue(("aardvark", "red", "mole", "blue"))
    figures = [c.evaluate(folder) for c in (forth, back, more)]
    assert figures[0].accuracy == figures[1].accuracy == figures[2].accuracy > 0.9
    assert figures[0].per_class == figures[1].per_class
    assert figures[2].per_class["aardvark"].photos == 0
    assert figures[2].per_class["blue"].photos == 10


def test_a_folder_of_one_class_is_measured_under_its_name(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=20) / "test"
    for photo in photos_in(folder / "blue"):
        photo.unlink()
    found = red_or_blue().evaluate(folder)
    assert found.photos == found.per_class["red"].photos == 10
    assert found.per_class["red"].recall == found.accuracy > 0.9


def test_an_unknown_class_is_refused_by_name_and_an_empty_one_is_not(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(test=6) / "test"
    (folder / "green").mkdir()
    assert red_or_blue().evaluate(folder).photos == 6
    photos_in(folder)[0].rename(folder / "green" / "1.jpg")
    with pytest.raises(PhotosError, match=r"(?s)does not know: green.*trained on blue, red"):
        red_or_blue().evaluate(folder)


def test_test_counts_where_there_is_one_and_val_else(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
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


def test_photos_by_folder_or_as_value_are_the_same_evaluation(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8, test=12)
    assert red_or_blue().evaluate(Photos(folder)) == red_or_blue().evaluate(folder)


def test_photos_that_cannot_be_read_are_left_out_of_an_evaluation_and_named(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(test=6) / "test"
    expected = red_or_blue().evaluate(folder)
    assert (expected.unread, expected.unread_first) == (0, ())
    broken = folder / "blue" / "000 broken.jpg"  # in the middle, so that labels could go astray
    broken.write_bytes(b"not a photo")
    found = red_or_blue().evaluate(folder)
    assert found.unread_first[0][0] == str(broken)
    assert replace(found, unread=0, unread_first=()) == expected
    assert str(found).startswith(f"{expected}; 1 could not be read: {broken}: its format is not one of JPEG")
    (folder / "red" / "empty.jpg").write_bytes(b"")
    found = red_or_blue().evaluate(folder)
    assert f"over 6 photos; 2 could not be read, the first: {broken}: its format is not one of" in str(found)
    said = json.loads(json.dumps(found.as_json()))
    assert (said["photos"], said["unread"]) == (6, 2)
    assert [row["path"] for row in said["unread_first"]] == [str(broken), str(folder / "red" / "empty.jpg")]


def test_an_evaluation_on_nothing_that_can_be_read_is_an_answer(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(test=6) / "test"
    for path in photos_in(folder):
        path.write_bytes(b"not a photo")
    with pytest.raises(PhotosError, match=r"none of 6 photos can be read, the first is .*000\.jpg\n"):
        red_or_blue().evaluate(folder)


def test_evaluation_draws_no_random_number_and_leaves_the_network_alone(
    photo_folder: Callable[..., Path],
) -> None:
    folder, classifier = photo_folder(test=70) / "test", red_or_blue()
    network = classifier.network.train()
    state, draws = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    first, second = classifier.evaluate(folder), classifier.evaluate(folder)
    assert first == second
    assert torch.equal(torch.get_rng_state(), draws)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert all(part.training for part in network.modules())


def test_to_make_a_classifier_changes_no_mode_of_a_borrowed_network() -> None:
    network = red_or_blue().network.train()
    network.get_submodule("layer1").eval()
    modes = [part.training for part in network.modules()]
    Classifier(network, ("blue", "red"), LOOK)
    assert [part.training for part in network.modules()] == modes


def test_on_another_device_works_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = red_or_blue()
    assert classifier.to("cpu").network is classifier.network
    monkeypatch.setattr(module, "choose_device", torch.device)  # meta: a device that every machine has
    there = classifier.to("meta")
    assert {p.device.type for p in there.network.parameters()} == {"meta"}
    assert {p.device.type for p in classifier.network.parameters()} == {"cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_answered() -> None:
    with pytest.raises(RecipeError, match=r"'cuda' is not there"):
        red_or_blue().to("cuda")
    with pytest.raises(RecipeError, match="no device 'gpu'"):
        red_or_blue().to("gpu")


def test_a_grey_network_sees_grey(photo_folder: Callable[..., Path]) -> None:
    look = Preprocess(size=32, resize=36, channels=1, mean=GREY_MEAN, std=GREY_STD)
    classifier = Classifier(NetworkSpec("cifar_resnet20", 2, 1).build(), ("blue", "red"), look)
    folder = photo_folder(test=6) / "test"
    assert classifier.evaluate(folder).photos == 6
    path = photos_in(folder)[0]
    grey = classifier.predict(Image.open(path).convert("L"))
    assert grey.probability == pytest.approx(classifier.predict(path).probability, abs=0.01)


class Fixed(nn.Module):
    """Gives every photo the same logits."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


@pytest.mark.parametrize(
    ("logits", "says"),
    [((1.0, float("nan")), "not finite"), ((float("inf"), 0.0), "not finite"), ((1.0,), "1")],
)
def test_a_network_that_says_nothing_is_no_prediction(logits: tuple[float, ...], says: str) -> None:
    with pytest.raises(ClassifierError, match=says):
        Classifier(Fixed(*logits), ("a", "b"), LOOK).predict(Image.new("RGB", (40, 40)))


def test_expand_takes_files_folders_and_globs_each_once_in_the_order_given(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(test=6) / "test"
    monkeypatch.chdir(folder)
    (folder / "red" / "notes.txt").write_text("no photo")
    every = [p.relative_to(folder) for p in photos_in(folder)]
    assert expand(["."]) == every
    assert expand(["blue", "red"]) == expand(["*/*.jpg"]) == expand(["**/*.jpg"]) == expand(["*"]) == every
    assert expand(["red/001.jpg", "red", "./red/001.jpg", "r*/*.jpg"]) == [
        p for p in every if p.parts[0] == "red"
    ]
    assert expand(["red", "blue"])[0].parts[0] == "red"
    assert expand(["red/notes.txt"]) == [Path("red/notes.txt")]  # asked for by name: it gets its row
    assert expand([]) == []


def test_what_does_not_exist_stays_and_no_name_is_too_odd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    odd = ["missing.jpg", "no*.jpg", "~nobody.jpg", "x" * 5000, "nul\0.jpg", os.fsdecode(b"\xff.jpg")]
    assert expand(odd) == [Path(name) for name in odd]
    assert all(row.error for row in red_or_blue().predict_all(expand(odd)))
    for name in ("img[1].jpg", "~mine.jpg", "a*b.jpg"):
        (tmp_path / name).touch()
        assert expand([name]) == [Path(name)]
    assert expand(["~/img[1].jpg"]) == [tmp_path / "img[1].jpg"]
