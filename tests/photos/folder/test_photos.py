"""Photos of a folder: labels by name, splits by content, and errors for unusable folders."""

import gc
import json
import os
import pickle
import shutil
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from reslab import Photo, Photos
from reslab.errors import PhotosError, UsageError
from reslab.photos.folder.digests import digest


def add(path: Path, color: int) -> Path:
    """Write a small photo; another color gives other bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (color % 256, color // 256, 7)).save(path, "PNG")
    return path


def fill(folder: Path, **counts: int) -> Path:
    """fill(folder, train_cat=10): write different photos."""
    for i, (place, count) in enumerate(counts.items()):
        for j in range(count):
            add(folder / place.replace("_", "/") / f"{j:03}.png", 1000 * i + j)
    return folder


def sizes(photos: Photos) -> tuple[int, int, int]:
    return len(photos.train), len(photos.val), len(photos.test)


def of_class(photos: Photos, split: str) -> dict[str, int]:
    return dict(Counter(photos.classes[photo.label] for photo in photos.splits[split]))


def test_three_splits_are_kept(tmp_path: Path) -> None:
    folder = fill(tmp_path, train_cat=6, train_dog=5, val_cat=2, val_dog=1, test_cat=1, test_dog=3)
    photos = Photos(folder)
    assert photos.classes == ("cat", "dog")
    assert sizes(photos) == (11, 3, 4)
    assert all(p.path.startswith(f"{name}/") for name, split in photos.splits.items() for p in split)
    assert all(
        photos.classes[p.label] == Path(p.path).parts[1] for split in photos.splits.values() for p in split
    )
    assert photos.notes == ()


def test_a_missing_val_is_a_tenth_of_each_class_of_train(tmp_path: Path) -> None:
    photos = Photos(fill(tmp_path, train_cat=60, train_dog=30, test_cat=4, test_dog=4))
    assert of_class(photos, "train") == {"cat": 54, "dog": 27}
    assert of_class(photos, "val") == {"cat": 6, "dog": 3}
    assert of_class(photos, "test") == {"cat": 4, "dog": 4}


def test_a_missing_test_split_is_noted(tmp_path: Path) -> None:
    photos = Photos(fill(tmp_path, train_cat=20, train_dog=20))
    assert sizes(photos) == (36, 4, 0)
    assert photos.notes == ("no test split: the final figures come from val, which also chose the epoch",)


def test_an_empty_val_is_split_off_like_a_missing_one(tmp_path: Path) -> None:
    folder = fill(tmp_path, train_cat=20, train_dog=20, test_cat=1, test_dog=1)
    (folder / "val" / "cat").mkdir(parents=True)
    assert sizes(Photos(folder)) == (36, 4, 2)


def test_of_one_folder_of_classes_all_three_are_cut(tmp_path: Path) -> None:
    photos = Photos(fill(tmp_path, cat=100, dog=50), val_fraction=0.2, test_fraction=0.1)
    assert of_class(photos, "test") == {"cat": 10, "dog": 5}
    assert of_class(photos, "val") == {"cat": 18, "dog": 9}
    assert of_class(photos, "train") == {"cat": 72, "dog": 36}
    assert photos.notes == ("split one folder into train, val and test",)
    every = [p.path for split in photos.splits.values() for p in split]
    assert len(set(every)) == len(every) == 150


def test_a_torchvision_image_folder_is_accepted(tmp_path: Path) -> None:
    folder = fill(tmp_path, cat=30, dog=20)
    add(folder / "cat" / ".ipynb_checkpoints" / "copy.png", 9000)
    add(folder / ".trash" / "x.png", 9001)
    dataset = ImageFolder(str(folder))
    assert len(dataset) == 52
    photos = Photos(dataset)
    assert photos == Photos(folder)
    assert "skipping a class without photos in train: .trash" in photos.notes


class Reversed(ImageFolder):
    """An ImageFolder whose classes have other indices than their sorted names."""

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        classes, _ = super().find_classes(directory)
        return classes, {name: len(classes) - 1 - index for index, name in enumerate(classes)}


def test_labels_of_an_image_folder_follow_its_own_classes_by_name(tmp_path: Path) -> None:
    folder = fill(tmp_path, cat=10, dog=10)
    assert Photos(Reversed(str(folder))) == Photos(folder)


def test_what_an_image_folder_does_to_photos_and_labels_is_noted(tmp_path: Path) -> None:
    folder = fill(tmp_path, cat=10, dog=10)
    dataset = ImageFolder(
        str(folder), transform=lambda x: x, target_transform=lambda x: 1 - x, loader=lambda path: path
    )
    notes = Photos(dataset).notes
    for name in ("loader", "transform", "target_transform"):
        assert sum(note.startswith(f"the {name} of the ImageFolder is not used") for note in notes) == 1
    assert not any("is not used" in note for note in Photos(ImageFolder(str(folder))).notes)


@pytest.mark.parametrize(
    ("each", "classes", "counts", "words"),
    [
        (2, 2, (2, 2, 0), "too few for a test split"),
        (3, 2, (2, 2, 2), "33 % of the photos, not 10 %"),
        (3, 30, (30, 30, 30), "33 % of the photos, not 10 %"),
        (20, 2, (32, 4, 4), "split one folder into train, val and test"),
    ],
)
def test_small_classes_are_split_as_far_as_they_go(
    each: int, classes: int, counts: tuple[int, int, int], words: str, tmp_path: Path
) -> None:
    photos = Photos(fill(tmp_path, **{f"class{i}": each for i in range(classes)}))
    assert sizes(photos) == counts
    assert any(words in note for note in photos.notes)


def test_classes_are_sorted_by_name(tmp_path: Path) -> None:
    folder = fill(tmp_path, train_zebra=3, train_Ant=3, train_bee=3, test_bee=1, test_zebra=1)
    photos = Photos(folder)
    assert photos.classes == ("Ant", "bee", "zebra")
    assert of_class(photos, "test") == {"bee": 1, "zebra": 1}


def test_a_class_that_train_lacks_is_refused_with_its_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path, train_cat=3, train_dog=3, Testing_x=0, Test_cow=1, Test_cat=1)
    with pytest.raises(PhotosError) as caught:
        Photos(folder)
    assert str(caught.value) == (
        "test has photos of a class that train lacks: cow\n"
        "  why: train has cat, dog; a network can only learn classes that it is trained on\n"
        f"  do:  rename or remove {folder / 'Test' / 'cow'}, or add photos of it to train"
    )


def test_a_class_that_only_train_has_and_an_empty_class_are_notes(tmp_path: Path) -> None:
    folder = fill(tmp_path, train_cat=20, train_dog=20, test_cat=1, val_cat=1, val_dog=1)
    (folder / "train" / "empty").mkdir()
    (folder / "test" / "nothing").mkdir()
    photos = Photos(folder)
    assert photos.classes == ("cat", "dog")
    assert photos.notes == ("skipping a class without photos in train: empty", "test has no photos of dog")


def test_unused_folders_are_noted(tmp_path: Path) -> None:
    folder = fill(tmp_path, train_cat=20, train_dog=20)
    add(folder / "test" / "1.png", 9000)
    assert Photos(folder).notes[0] == f"skipping photos outside class folders: 1 in {folder / 'test'}"


def test_equal_files_stay_together_under_any_name(tmp_path: Path) -> None:
    folder = fill(tmp_path, cat=40, dog=40)
    for i in range(40):
        shutil.copy(folder / "cat" / f"{i:03}.png", folder / "cat" / f"copy {39 - i}.png")
    photos = Photos(folder, val_fraction=0.3, test_fraction=0.3)
    seen = [{p.digest for p in split} for split in photos.splits.values()]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert min(map(len, seen)) > 10


def test_the_split_depends_only_on_content_and_seed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "one", cat=40, dog=40)
    other = tmp_path / "other"
    for i, path in enumerate(sorted(folder.rglob("*.png"), key=digest)):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.parent.name / f"renamed {i}.png")

    def cut_off(photos: Photos) -> list[set[str]]:
        return [{p.digest for p in split} for split in photos.splits.values()]

    assert cut_off(Photos(folder)) == cut_off(Photos(other)) == cut_off(Photos(folder))
    assert Photos(folder) == Photos(folder)
    assert cut_off(Photos(folder)) != cut_off(Photos(folder, seed=1))


def test_saved_photos_are_read_back_equal(tmp_path: Path) -> None:
    folder = fill(tmp_path, **{"train_猫 🐱": 12, "train_dog": 12, "test_dog": 2})
    add(folder / "train" / "dog" / os.fsdecode(b"\xff.png"), 9000)
    photos = Photos(folder)
    photos.save(tmp_path / "list.jsonl")
    assert Photos(tmp_path / "list.jsonl") == Photos.load(tmp_path / "list.jsonl") == photos
    _, *rows = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text().splitlines()]
    assert {row["class"] for row in rows} == {"猫 🐱", "dog"}
    assert Counter(row["split"] for row in rows) == {"train": 23, "val": 2, "test": 2}
    assert all((folder / row["path"]).is_file() for row in rows)
    assert pickle.loads(pickle.dumps(photos)) == photos
    assert Photos(photos) == photos
    assert Photos(photos).notes == photos.notes


def test_photos_are_frozen_and_hashable(tmp_path: Path) -> None:
    photos = Photos(fill(tmp_path, cat=10, dog=10))
    with pytest.raises(AttributeError):
        photos.train = ()  # type: ignore[misc]
    assert len({photos, Photos(tmp_path)}) == 1
    assert photos.path(photos.train[0]).is_file()


def test_photos_print_their_sizes_classes_and_notes(tmp_path: Path) -> None:
    names = [f"train_class {i}" for i in range(9)]
    photos = Photos(fill(tmp_path / "data", **dict.fromkeys(names, 200), train_bad=0))
    shown = ", ".join(f"class {i}" for i in range(8))
    assert str(photos) == repr(photos)
    assert str(photos).splitlines() == [
        f"{tmp_path / 'data'}: 1,620 train, 180 val; 9 classes: {shown}, ...",
        "  note: no test split: the final figures come from val, which also chose the epoch",
    ]


def test_photos_print_with_any_class_name(tmp_path: Path) -> None:
    photos = Photos(fill(tmp_path / "a\nb", **{"x\ny": 9, os.fsdecode(b"\xff"): 9}))
    text = str(photos)
    assert text.encode()
    assert "a\\nb: 14 train, 2 val, 2 test; 2 classes: x\\ny, \\udcff" in text.splitlines()[0]


def test_a_path_may_be_a_str_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "data", cat=10, dog=10)
    assert Photos("~/data") == Photos(tmp_path / "data")
    with pytest.raises(PhotosError, match="there is no folder ~nobody-of-this-name/data"):
        Photos("~nobody-of-this-name/data")


def test_one_class_or_too_few_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotosError) as caught:
        Photos(fill(tmp_path / "one", train_cat=9, test_cat=1))
    assert str(caught.value) == (
        f"{tmp_path / 'one'} has only one class: cat\n"
        "  why: a classifier needs at least two classes\n"
        "  do:  put the photos of each class into a folder of its own: train/cat/1.jpg, train/dog/1.jpg"
    )
    with pytest.raises(PhotosError) as caught:
        Photos(fill(tmp_path / "few", cat=1, dog=1))
    assert str(caught.value) == (
        f"{tmp_path / 'few'} has too few photos: 2 to train, 0 to validate\n"
        "  why: a class of one photo cannot be both trained on and validated\n"
        "  do:  add photos: at least two of each class, better hundreds"
    )
    (tmp_path / "none" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "none" / "train" / "dog").mkdir(parents=True)
    add(tmp_path / "none" / "val" / "cat" / "1.png", 1)
    with pytest.raises(PhotosError, match="val has photos of a class that train lacks: cat"):
        Photos(tmp_path / "none")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_an_invalid_fraction_is_refused(fraction: float, tmp_path: Path) -> None:
    for name in ("val_fraction", "test_fraction"):
        with pytest.raises(
            UsageError, match="a split cannot be .* of the photos\n  do:  give a fraction between"
        ):
            Photos(fill(tmp_path, cat=10, dog=10), **{name: fraction})


def test_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match="not a folder of photos: int\n  why: expected a path or"):
        Photos(5)


def test_a_missing_file_is_listed_until_a_training_skips_it(tmp_path: Path) -> None:
    dataset = ImageFolder(str(fill(tmp_path, cat=10, dog=10)))
    for name in ("003.png", "004.png"):
        (tmp_path / "dog" / name).unlink()
    photos = Photos(dataset)
    assert sum(sizes(photos)) == 20
    assert len({photo.digest for split in photos.splits.values() for photo in split}) == 20
    with pytest.raises(PhotosError, match=r"dog/003\.png cannot be read\n  why: No such file or directory"):
        digest(tmp_path / "dog" / "003.png")


def test_without_keeps_the_other_photos_in_their_splits(tmp_path: Path) -> None:
    photos = Photos(fill(tmp_path, cat=10, dog=10))
    gone = {photos.train[0].path, photos.test[0].path, "cat/never there.png"}
    rest = photos.without(gone)
    assert sizes(rest) == (len(photos.train) - 1, len(photos.val), len(photos.test) - 1)
    for name, split in rest.splits.items():
        assert [p for p in photos.splits[name] if p.path not in gone] == list(split)
    assert (rest.classes, rest.notes, rest.folder) == (photos.classes, photos.notes, photos.folder)
    assert photos.without(()) == photos
    with pytest.raises(PhotosError, match="too few photos: 1 to train"):
        photos.without({photo.path for photo in photos.train[1:]})


def test_real_photos_of_cats_and_dogs(cats_dogs: Path) -> None:
    photos = Photos(cats_dogs)
    assert sizes(photos) == (7200, 800, 2000)
    assert of_class(photos, "val") == {"cat": 400, "dog": 400}
    assert isinstance(photos.train[0], Photo)


def test_ten_photos_in_either_layout_have_one_digest_each(photo_folder: Callable[..., Path]) -> None:
    photos = Photos(photo_folder(train=10))
    assert len({p.digest for split in photos.splits.values() for p in split}) == 10
    assert all(len(p.digest) == 32 for p in photos.train)


@pytest.mark.slow
@pytest.mark.parametrize("listed", [False, True])
def test_a_photo_takes_less_than_a_hundred_bytes(listed: bool, tmp_path: Path) -> None:
    count = 4000
    for number in range(count):
        path = tmp_path / "train" / ("cat", "dog")[number % 2] / f"IMG_{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(8, "little"))
    source = tmp_path
    if listed:
        photos, source = Photos(tmp_path), tmp_path / "list.jsonl"
        photos.save(source)
        del photos
    Photos(source)  # imports and caches are not counted
    gc.collect()
    tracemalloc.start()
    try:
        objects = sys.getallocatedblocks()
        photos = Photos(source)
        gc.collect()
        objects = sys.getallocatedblocks() - objects
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(photos.train) + len(photos.val) == count
    assert held < 100 * count
    assert objects < count / 4
