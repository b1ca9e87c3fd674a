"""Labels in a table: columns, separators, encodings, splits, and rows and photos that do not match."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.errors import PhotosError
from reslab.photos.folder.sources.label_table import LabelTable, read_table

PHOTOS = ("images/a.jpg", "images/b.jpg", "images/c.png")
LABELS = {"images/a.jpg": "cat", "images/b.jpg": "dog", "images/c.png": "cat"}


def write(
    folder: Path, content: str | bytes, photos: tuple[str, ...] = PHOTOS, name: str = "labels.csv"
) -> Path:
    """Write a table, and empty files as photos: nothing is decoded."""
    for photo in photos:
        (folder / photo).parent.mkdir(parents=True, exist_ok=True)
        (folder / photo).touch()
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def by_split(table: LabelTable) -> dict[str, list[str]]:
    return {split: sorted(sum(of.values(), [])) for split, of in table.found.items()}


@pytest.mark.parametrize(
    "content",
    [
        "file,label\na.jpg,cat\nb.jpg,dog\nc.png,cat\n",
        "label,file\ncat,a.jpg\ndog,b.jpg\ncat,c.png\n",
        "file;label\na.jpg;cat\nb.jpg;dog\nc.png;cat",
        "Image Path\tClass\nimages/a.jpg\tcat\nimages/b.jpg\tdog\nimages/c.png\tcat\n",
        "id,breed\na,cat\nb,dog\nc,cat\n",  # ids without suffix
        "a.jpg,cat\nb.jpg,dog\nc.png,cat\n",  # without a header
        "cat,a.jpg\ndog,b.jpg\ncat,c.png\n",
        "a,cat\nb,dog\nc,cat\n",
        "\ufeffid,breed\r\na,cat\r\nb,dog\r\nc,cat\r\n",  # UTF-8 with BOM, lines of Windows
        '"file","label"\n"a.jpg", "cat"\n"b.jpg", "dog"\n"c.png", "cat"\n',
        "image,label\nimages\\a.jpg,cat\nimages\\b.jpg,dog\n.\\images\\c.png,cat\n",
        "image,label\n/kaggle/input/x/images/a.jpg,cat\n/kaggle/input/x/images/b.jpg,dog\n"
        "/kaggle/input/x/images/c.png,cat\n",
        "image,label\nC:\\data\\a.jpg,cat\nC:\\data\\b.jpg,dog\nC:\\data\\c.png,cat\n",
        "photo_of_animal,kind\na.jpg,cat\nb.jpg,dog\nc.png,cat\n",  # unusual names, two columns
        "file,width,label\na.jpg,10,cat\nb.jpg,20,dog\nc.png,30,cat\n",
        "file,label\n\na.jpg,cat\n,\nb.jpg,dog\nc.png, cat \n\n",  # blank lines and spaces
        "file,label\na.jpg,cat\na.jpg,cat\nb.jpg,dog\nc.png,cat\n",  # the same row twice
        "file,label\na.jpg,cat\nb.jpg,dog\nc.png,cat\n".encode("utf-16"),
        "image,dog,cat\na,0.0,1.0\nb,1.0,0.0\nc,0.0,1.0\n",  # a column for each class
        "Image,Id\na.jpg,cat\nb.jpg,dog\nc.png,cat\n",  # Id is the label
    ],
)
def test_tables_of_many_forms_give_the_same_labels(tmp_path: Path, content: str | bytes) -> None:
    table = read_table(write(tmp_path, content))
    assert table.labels == LABELS
    assert (table.missing, table.unlabeled, table.unlisted) == ((), (), ())


def test_numbers_are_names_of_classes(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "file,label\na.jpg,0\nb.jpg,10\nc.png,007\n"))
    assert set(table.labels.values()) == {"0", "10", "007"}


@pytest.mark.parametrize(
    "content",
    [
        "file,label,split\na.jpg,cat,train\nb.jpg,dog,validation\nc.png,cat,TEST\n",
        "set,id,target\ntrain,a,cat\nval,b,dog\ntest,c,cat\n",
        "a.jpg,cat,train\nb.jpg,dog,valid\nc.png,cat,testing\n",  # without a header
    ],
)
def test_a_column_of_splits(tmp_path: Path, content: str) -> None:
    table = read_table(write(tmp_path, content))
    assert by_split(table) == {"train": ["images/a.jpg"], "val": ["images/b.jpg"], "test": ["images/c.png"]}


def test_photos_in_folders_of_splits_keep_them(tmp_path: Path) -> None:
    photos = ("train/1.jpg", "train/2.jpg", "test/3.jpg")
    table = read_table(write(tmp_path, "id,label\n1,a\n2,b\n3,a\n", photos))
    assert by_split(table) == {"train": ["train/1.jpg", "train/2.jpg"], "test": ["test/3.jpg"]}


def test_what_does_not_match_is_counted_and_named(tmp_path: Path) -> None:
    photos = (*PHOTOS, "images/d.jpg", "images/e.jpg", "other/f.jpg")
    table = read_table(write(tmp_path, "file,label\na.jpg,cat\nb.jpg,dog\nd.jpg,\nlost.jpg,cat\n", photos))
    assert table.missing == ("lost.jpg",)
    assert table.unlabeled == ("images/d.jpg",)
    assert table.unlisted == ("images/c.png", "images/e.jpg", "other/f.jpg")
    assert table.notes == [
        "labels from labels.csv: 2 photos",
        "skipping rows of files that are missing: 1, lost.jpg",
        "skipping photos whose row has no label: 1, images/d.jpg",
        "skipping photos without a row: 3, images/c.png, images/e.jpg, other/f.jpg",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,label\na.jpg,cat\na.jpg,dog\n", ["two labels", "line 2 has cat, line 3 has dog"]),
        ("file,label,split\na.jpg,cat,train\na.jpg,cat,test\n", ["two splits", "line 2", "line 3"]),
        ("file,label,split\na.jpg,cat,train\nb.jpg,cat,fold1\n", ["unknown split", "line 3", "fold1"]),
        (
            "file,class,category\na.jpg,x,1\nb.jpg,y,2\n",
            ["2 ways", "'class'", "'category'", "labels.csv#class"],
        ),
        ("file,x,y\na.jpg,x,1\nb.jpg,y,2\n", ["2 ways", "'x'", "'y'"]),
        ("file,image,label\na.jpg,b.jpg,1\nb.jpg,a.jpg,2\n", ["two ways", "name different photos"]),
        ("file,label\nz.jpg,cat\ny.jpg,dog\n", ["names no photo", "'y.jpg'", "3 photos"]),
        ("file,label\na.jpg,cat\nb.jpg,dog,big\n", ["line 3 has 3 cells", "line 1 has 2"]),
        ("file\na.jpg\nb.jpg\n", ["not a table of labels"]),
        ("", ["not a table of labels"]),
        ("file,A,B\na.jpg,1,0\nb.jpg,1,1\n", ["line 3", "b.jpg into 2 classes", "A, B", "not supported"]),
        ("file,A,B\na.jpg,1,0\nb.jpg,0,0\n", ["line 3", "b.jpg into 0 classes"]),
        ("file,label\na.jpg,\nb.jpg,\n", ["labels no photo", "2 have no label"]),
        ("path,label,predicted,loss\na.jpg,cat,dog,1\n", ["predictions, not labels"]),
        ("file,label\na.jpg,狗\n".encode("gbk"), ["byte 17 is not UTF-8"]),
    ],
)
def test_no_table_is_read_in_one_of_two_ways(
    tmp_path: Path,
    refuses: Callable[..., AbstractContextManager[None]],
    content: str | bytes,
    words: list[str],
) -> None:
    path = write(tmp_path, content)
    with refuses(PhotosError, *words):
        read_table(path)


def test_a_name_that_fits_two_photos_is_refused(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    photos = ("one/1.jpg", "two/1.jpg", "two/2.jpg")
    with refuses(PhotosError, "line 2", "fits 2 photos", "one/1.jpg and two/1.jpg"):
        read_table(write(tmp_path, "id,label\n1,a\n2,b\n", photos))
    assert read_table(write(tmp_path, "id,label\none/1,a\ntwo/2,b\n", photos)).labels == {
        "one/1.jpg": "a",
        "two/2.jpg": "b",
    }


def test_a_column_can_be_named(tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]) -> None:
    path = write(tmp_path, "file,class,family\na.jpg,x,1\nb.jpg,y,1\nc.png,x,2\n")
    assert set(read_table(path, column="family").labels.values()) == {"1", "2"}
    with refuses(PhotosError, "no column 'size'", "file, class, family"):
        read_table(path, column="size")


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.text("abcXYZ019_- äö猫", min_size=1, max_size=9).filter(lambda name: name.strip() == name),
        st.text("abcXYZ019_-;,\"' äö猫", min_size=1, max_size=9).filter(lambda label: label.strip() == label),
        min_size=2,
        max_size=6,
    )
)
def test_every_label_comes_back(tmp_path_factory: pytest.TempPathFactory, labels: dict[str, str]) -> None:
    folder = tmp_path_factory.mktemp("table")
    quoted = (
        "".join(f'"{cell}",' for cell in (f"{name}.jpg", label.replace('"', '""')))
        for name, label in labels.items()
    )
    rows = "\n".join(line[:-1] for line in quoted)
    path = write(folder, f"file,label\n{rows}\n", tuple(f"{name}.jpg" for name in labels))
    assert read_table(path).labels == {f"{name}.jpg": label for name, label in labels.items()}
