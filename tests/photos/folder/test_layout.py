"""Photos of a folder with their class and split, despite links, odd names and the files of systems."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from reslab.errors import PhotosError
from reslab.photos.decoding.decode import decode
from reslab.photos.folder.layout import find_photos, find_splits, is_photo, unused_photos
from reslab.photos.folder.sources.find import find_labeled, find_to_evaluate
from reslab.photos.folder.unused import unused_entries


def put(folder: Path, *paths: str) -> Path:
    """Write small photos, each of another color."""
    for i, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i % 256, i // 256, len(path) % 256)).save(folder / path, "PNG")
    return folder


def names(found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, int]]:
    return {split: {name: len(files) for name, files in classes.items()} for split, classes in found.items()}


def test_splits_are_found_by_each_of_their_names(tmp_path: Path) -> None:
    for i, (train, val, test) in enumerate(
        [
            ("train", "val", "test"),
            ("Training", "VALID", "Testing"),
            ("training_set", "validation", "test_set"),
        ]
    ):
        folder = put(tmp_path / str(i), *(f"{split}/{c}/1.png" for split in (train, val, test) for c in "ab"))
        assert names(find_splits(folder)) == {split: {"a": 1, "b": 1} for split in ("train", "val", "test")}


def test_one_folder_of_classes_is_the_split_all(tmp_path: Path) -> None:
    folder = put(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png")
    assert find_splits(folder) == {"all": {"cat": ["cat/1.png", "cat/2.png"], "dog": ["dog/1.png"]}}


@pytest.mark.parametrize("others", [("val", "test"), ("Testing",), ("valid",), ("validation", "test_set")])
@pytest.mark.parametrize("train", ["train_images", None])
def test_splits_without_train_are_not_taken_for_classes(
    others: tuple[str, ...], train: str | None, tmp_path: Path
) -> None:
    """A network would learn to distinguish test from train."""
    everything = [*others, *([train] if train else [])]
    folder = put(tmp_path, *(f"{split}/{c}/1.png" for split in everything for c in ("cat", "dog")))
    message = answer(folder)
    assert message.startswith(f"FOLDER has {' and '.join(f'{name}/' for name in others)} with class folders")
    assert "but no train/\n  why: a network is trained on" in message
    if train:
        assert "if the training photos are those in FOLDER/train_images, rename it to train" in message
        (folder / train).rename(folder / "train")
        assert set(find_splits(folder)) >= {"train"}
    else:
        assert "put photos to train on into FOLDER/train/cat/1.jpg" in message


def test_a_class_may_be_named_test_and_have_subfolders(tmp_path: Path) -> None:
    folder = put(tmp_path, "test/p1/1.png", "test/p2/1.png", "control/p3/1.png", "healthy/p1/1.png")
    assert names(find_splits(folder)) == {"all": {"test": 2, "control": 1, "healthy": 1}}
    pair = put(tmp_path / "pair", "test/p1/1.png", "control/p2/1.png")
    assert names(find_splits(pair)) == {"all": {"test": 1, "control": 1}}
    twins = put(tmp_path / "twins", "test/day1/1.png", "control/day1/1.png")
    assert answer(twins).endswith(
        "if the training photos are those in FOLDER/control, rename it to train; "
        "if test is a class, give it another name"
    )
    four = put(tmp_path / "four", "test/a/1.png", "validation/a/1.png", "control/b/1.png", "other/1.png")
    assert set(find_splits(four)["all"]) == {"test", "validation", "control", "other"}


def test_train_without_classes_next_to_splits_with_classes_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, "train/1.png", "train/2.png", "val/cat/1.png", "test/cat/1.png")
    assert answer(folder).startswith("FOLDER/train has photos, but no class folders")


def test_a_class_may_be_named_train(tmp_path: Path) -> None:
    folder = put(tmp_path, "train/1.png", "car/1.png", "plane/1.png")
    assert names(find_splits(folder)) == {"all": {"train": 1, "car": 1, "plane": 1}}


def test_photos_in_subfolders_belong_to_the_class(tmp_path: Path) -> None:
    folder = put(
        tmp_path, "train/cat/2019/may/1.png", "train/cat/1.png", "train/cat/x.jpg/1.png", "train/dog/1.png"
    )
    assert find_splits(folder)["train"]["cat"] == [
        "train/cat/1.png",
        "train/cat/2019/may/1.png",
        "train/cat/x.jpg/1.png",  # a folder named like a photo
    ]


def test_hidden_and_system_files_are_skipped(tmp_path: Path) -> None:
    folder = put(
        tmp_path,
        *("cat/1.png", "dog/1.png", "cat/._1.png", "cat/.DS_Store", "cat/Thumbs.db", "cat/desktop.ini"),
        *("cat/.ipynb_checkpoints/1.png", ".ipynb_checkpoints/1.png", "__MACOSX/cat/1.png", ".git/1.png"),
        *("cat/@eaDir/1.png", "$RECYCLE.BIN/1.png", "cat/notes.txt", "cat/movie.mp4", "__pycache__/1.png"),
    )
    assert find_splits(folder) == {"all": {"cat": ["cat/1.png"], "dog": ["dog/1.png"]}}


def test_photos_are_found_by_suffix_in_any_case_and_without_one_by_their_first_bytes(tmp_path: Path) -> None:
    put(tmp_path, "a.JPG", "b.Jpeg", "c.tIf", "d.webp", "e.jpg.txt", "f", ".jpg", "g.avif", "h.PGM", "i.jp2")
    (tmp_path / "README").write_text("P is a letter")
    found = [path.name for path in find_photos(tmp_path)]
    assert found == ["a.JPG", "b.Jpeg", "c.tIf", "d.webp", "f", "g.avif", "h.PGM", "i.jp2"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000"])
def test_every_format_is_recognized_and_read_without_a_suffix(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    Image.new("RGB", (9, 7), (200, 10, 10)).save(path, kind)
    assert find_photos(tmp_path) == [path]
    assert decode(path).size == (9, 7)


ODD = [
    "with space.png",
    "猫.png",
    "🐱.png",
    "line\nbreak.png",
    "-rf.png",
    "a'b\"c.png",
    "x" * 251 + ".png",
    "*?[1].png",
    os.fsdecode(b"\xff\xfe.png"),
]


def test_any_file_name_is_accepted(tmp_path: Path) -> None:
    put(tmp_path, *(f"猫 🐱\n/{name}" for name in ODD), *(f"-dog/{name}" for name in ODD))
    found = find_splits(tmp_path)["all"]
    assert sorted(found) == ["-dog", "猫 🐱\n"]
    for name, paths in found.items():
        assert sorted(paths) == sorted(f"{name}/{odd}" for odd in ODD)
        assert all((tmp_path / path).is_file() for path in paths)


def test_links_to_photos_and_classes_are_followed(tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere", "real.png", "dogs/1.png", "dogs/2.png")
    folder = put(tmp_path / "photos", "cat/1.png")
    (folder / "cat" / "2.png").symlink_to(elsewhere / "real.png")
    (folder / "dog").symlink_to(elsewhere / "dogs")
    (folder / "cat" / "broken.png").symlink_to("nowhere.png")
    assert find_splits(folder)["all"] == {
        "cat": ["cat/1.png", "cat/2.png"],
        "dog": ["dog/1.png", "dog/2.png"],
    }
    (tmp_path / "link").symlink_to(folder)
    assert names(find_splits(tmp_path / "link")) == {"all": {"cat": 2, "dog": 2}}


def test_links_that_lead_back_add_no_photos(tmp_path: Path) -> None:
    folder = put(tmp_path / "photos", "train/cat/1.png", "train/dog/1.png", "train/cat/more/2.png")
    (folder / "train" / "cat" / "up").symlink_to("..")
    (folder / "train" / "cat" / "top").symlink_to(folder)
    (folder / "train" / "cat" / "again").symlink_to("more")
    (folder / "train" / "cat" / "self.png").symlink_to("self.png")
    (folder / "train" / "dog" / "itself").symlink_to(".")
    assert names(find_splits(folder)) == {"train": {"cat": 2, "dog": 1}}
    (folder / "train" / "loop").symlink_to("..")
    assert find_splits(folder)["train"]["loop"] == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_a_photo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert not is_photo(tmp_path / "pipe.png")
    assert find_photos(tmp_path) == []


def test_unused_folders_and_photos_are_noted(tmp_path: Path) -> None:
    folder = put(
        tmp_path,
        *("train/cat/1.png", "train/dog/1.png", "train/stray.png", "stray1.png", "stray2.png"),
        *("test/1.png", "training/cat/1.png", "birds/1.png"),
    )
    assert unused_photos(folder) == [
        "skipping folders other than train, val and test: birds, training",
        f"skipping photos outside class folders: 2 in {folder}",
        f"skipping photos outside class folders: 1 in {folder / 'train'}",
        f"skipping photos outside class folders: 1 in {folder / 'test'}",
    ]
    assert unused_photos(put(tmp_path / "clean", "cat/1.png", "dog/1.png")) == []
    assert unused_photos(put(tmp_path / "splits", "train/cat/1.png", "test/cat/1.png")) == []


def answer(folder: Path) -> str:
    with pytest.raises(PhotosError) as caught:
        find_splits(folder)
    return str(caught.value).replace(str(folder), "FOLDER")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    do = "\n  do:  give the folder that holds one folder per class, or train/ and test/"
    assert answer(tmp_path / "missing") == "there is no folder FOLDER" + do
    put(tmp_path, "1.png")
    assert answer(tmp_path / "1.png") == "FOLDER is not a folder" + do
    assert answer(tmp_path / ("x" * 5000)) == "there is no folder FOLDER" + do
    assert answer(Path("nul\0")) == "there is no folder FOLDER" + do


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    assert answer(tmp_path).startswith("FOLDER has no photos\n  why: looked for .jpg, .jpeg")
    assert "in 1 class folders\n  do:  give the folder" in answer(tmp_path)
    assert answer(put(tmp_path / "loose", "1.png", "2.png")).splitlines()[:2] == [
        "FOLDER has photos, but no class folders",
        "  why: 2 photos are in the folder itself, so their class is unknown",
    ]


def test_splits_without_classes_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, "train/cat.0.png", "train/dog.0.png", "test1/1.png")
    assert answer(folder) == (
        "FOLDER/train has photos, but no class folders\n"
        "  why: their class is unknown\n"
        "  do:  sort the photos into one folder per class: FOLDER/train/cat/1.jpg"
    )


def test_splits_with_a_year_in_the_name_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, *(f"{split}2017/{c}/1.png" for split in ("train", "val") for c in "ab"))
    assert answer(folder) == (
        "FOLDER/train2017 has class folders, but is not named train\n"
        "  why: splits are found by their names: train, val and test\n"
        "  do:  rename it, and the other splits"
    )


@contextmanager
def as_other_user() -> Iterator[None]:
    """Run as another user if this is root, who may read every folder."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX permissions")
@pytest.mark.parametrize("closed", ["photos", "photos/train"])
def test_an_unreadable_folder_or_split_is_refused(
    closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "photos", "train/cat/1.png", "train/cat/more/1.png", "train/dog/1.png")
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    os.chmod(closed, 0o700 if os.geteuid() == 0 else 0)
    with as_other_user(), pytest.raises(PhotosError) as caught:
        find_labeled("photos")
    os.chmod(closed, 0o755)
    assert str(caught.value) == (
        f"{closed} cannot be read\n  why: Permission denied\n  do:  check its permissions, or remove it"
    )
    with as_other_user():
        assert names(find_splits(Path("photos"))) == {"train": {"cat": 2, "dog": 1}}
    tmp_path.chmod(0)
    with (
        as_other_user(),
        pytest.raises(PhotosError, match="^photos cannot be read\n  why: Permission denied"),
    ):
        find_labeled("photos")
    tmp_path.chmod(0o755)


@pytest.mark.parametrize(("closed", "counts"), [("cat", {"dog": 1}), ("cat/more", {"cat": 1, "dog": 1})])
def test_an_unreadable_class_or_folder_in_it_is_skipped_and_named(
    closed: str, counts: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = Path("photos")
    put(tmp_path / photos, "train/cat/1.png", "train/cat/more/1.png", "train/dog/1.png")
    tmp_path.chmod(0o755)
    folder = photos / "train" / closed
    folder.chmod(0o700 if os.geteuid() == 0 else 0)
    with as_other_user():
        found, notes = names(find_splits(photos)), unused_entries(photos)
    folder.chmod(0o755)
    assert {name: count for name, count in found["train"].items() if count} == counts
    assert notes == [f"skipping folders that cannot be read, for lack of permission: 1, train/{closed}"]


def test_a_link_to_another_class_or_split_is_used_and_not_named(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/dog/2.png", "more/3.png")
    (tmp_path / "val").symlink_to("test")
    (tmp_path / "train/wolf").symlink_to("dog")
    (tmp_path / "train/cat/a").symlink_to("../../more")
    (tmp_path / "train/cat/b").symlink_to("../../more")  # the second way to these photos
    sought = find_labeled(tmp_path)
    assert names(sought.found)["train"] == {"cat": 2, "dog": 1, "wolf": 1}
    assert names(sought.found)["val"] == names(sought.found)["test"] == {"cat": 1, "dog": 1}
    assert "skipping folders that another link has reached before: 1, train/cat/b" in sought.notes


def test_a_folder_with_test_alone_names_all_that_is_not_used(tmp_path: Path) -> None:
    put(tmp_path, "test/cat/1.png", "test/dog/1.png", "test/cat/a.svg", "b.svg")
    assert find_to_evaluate(tmp_path).notes == unused_entries(tmp_path) != []
