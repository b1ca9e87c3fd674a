"""Public sets as photo folders: whole, lossless, in the official splits; or an answer and nothing at all.

Tiny archives in each set's own format stand behind a real HTTP server; only torchvision's addresses and
checksums are changed.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import logging
import os
import pickle
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from materials import make_photo, real_data
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

import reslab
from reslab import untrusted as foreign
from reslab.datasets import fetch as download
from reslab.datasets.archives import downloads_folder
from reslab.datasets.catalog import SETS
from reslab.errors import DownloadError, UsageError

Tree = dict[
    str, bytes | NDArray[np.uint8]
]  # path in the made folder -> a photo's bytes or a picture's pixels


def pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photo(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed, 12, 16, 3)).save(file, "JPEG")
    return file.getvalue()


def tar(path: Path, contents: dict[str, bytes]) -> str:
    """Writes a .tar.gz; returns its MD5."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return md5(path.read_bytes())


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Publisher:
    """Publishes a tiny set at `folder`, served at `url`; returns what a made folder should hold."""

    def __init__(self, folder: Path, url: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.url, self.asked, self.patch = folder, url, asked, monkeypatch.setattr

    def __call__(self, name: str) -> Tree:
        return getattr(self, name.replace("-", "_"))()

    def fashion_mnist(self, train: int = 20, test: int = 10) -> Tree:
        resources, tree, names = [], {}, datasets.FashionMNIST.classes
        for seed, (split, prefix, count) in enumerate((("train", "train", train), ("test", "t10k", test))):
            images, labels = pixels(seed, count, 28, 28), (np.arange(count) % 10).astype(np.uint8)
            for kind, magic, content in (("images-idx3", 0x803, images), ("labels-idx1", 0x801, labels)):
                header = np.array([magic, *content.shape], ">i4").tobytes()
                file = self.folder / f"{prefix}-{kind}-ubyte.gz"
                file.write_bytes(gzip.compress(header + content.tobytes()))
                resources.append((file.name, md5(file.read_bytes())))
            for i, image in enumerate(images):
                tree[f"{split}/{names[i % 10].replace('/', '-')}/{i:05}.png"] = image
        self.patch(datasets.FashionMNIST, "resources", resources)
        self.patch(datasets.FashionMNIST, "mirrors", [self.url])
        return tree

    def cifar10(self) -> Tree:
        tree: Tree = {}
        names = ["plane", "car"]
        contents = {"batches.meta": pickle.dumps({"label_names": names})}
        for batch, file in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
            images = pixels(batch, 4, 3, 32, 32)
            contents[file] = pickle.dumps({"data": images.reshape(4, -1), "labels": [0, 1, 0, 1]})
            for i, image in enumerate(images):
                split, number = ("test", i) if file == "test_batch" else ("train", 4 * batch + i)
                tree[f"{split}/{names[i % 2]}/{number:05}.png"] = image.transpose(1, 2, 0)
        sums = [[file, md5(content)] for file, content in contents.items()]
        cifar10 = datasets.CIFAR10
        self.patch(cifar10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums[0][1]})
        self.patch(cifar10, "train_list", sums[1:6])
        self.patch(cifar10, "test_list", sums[6:])
        self.patch(cifar10, "url", f"{self.url}{cifar10.filename}")
        packed = {f"{cifar10.base_folder}/{file}": content for file, content in contents.items()}
        self.patch(cifar10, "tgz_md5", tar(self.folder / cifar10.filename, packed))
        return tree

    def oxford_pets(self, names: tuple[str, str] = ("Abyssinian", "Boston Terrier")) -> Tree:
        tree: Tree = {}
        images, lists = {}, {"trainval": "", "test": ""}
        for i in range(12):
            species, split = i % 2, "test" if i >= 8 else "trainval"
            stem = f"{('Abyssinian', 'boston_terrier')[species]}_{i}"
            images[f"images/{stem}.jpg"] = photo(i)
            lists[split] += f"{stem} {species + 1} {species + 1} 1\n"
            tree[f"{split.replace('val', '')}/{names[species]}/{stem}.jpg"] = photo(i)
        annotations = {f"annotations/{split}.txt": text.encode() for split, text in lists.items()}
        sums = [
            (f"{self.url}{file}", tar(self.folder / file, contents))
            for file, contents in (("images.tar.gz", images), ("annotations.tar.gz", annotations))
        ]
        self.patch(datasets.OxfordIIITPet, "_RESOURCES", sums)
        return tree

    def oxford_pets_cats_dogs(self) -> Tree:
        return self.oxford_pets(("cat", "dog"))

    def imagenette(self) -> Tree:
        tree: Tree = {}
        contents = {}
        classes = {"n01440764": "tench", "n03394916": "French horn"}
        for i, (split, made) in enumerate((("train", "train"), ("val", "test"))):
            for j, (wnid, name) in enumerate(classes.items()):
                file = f"{wnid}_{i}.JPEG"
                contents[f"imagenette2/{split}/{wnid}/{file}"] = tree[f"{made}/{name}/{file}"] = photo(
                    2 * i + j
                )
        sums = {"full": (f"{self.url}imagenette2.tgz", tar(self.folder / "imagenette2.tgz", contents))}
        self.patch(datasets.Imagenette, "_ARCHIVES", sums)
        return tree

    def flowers102(self) -> Tree:
        from scipy.io import savemat

        names = {1: "pink primrose", 60: "pink-yellow dahlia"}  # with a question mark in torchvision
        splits = {"train": [2, 3], "val": [1, 6], "test": [4, 5]}
        labels = [1, 60, 1, 60, 1, 60]
        contents = {f"jpg/image_{i:05}.jpg": photo(i) for i in range(1, 7)}
        tree: Tree = {
            f"{split}/{names[labels[i - 1]]}/image_{i:05}.jpg": photo(i)
            for split, ids in splits.items()
            for i in ids
        }
        files = {"image": "102flowers.tgz", "label": "imagelabels.mat", "setid": "setid.mat"}
        tar(self.folder / files["image"], contents)
        savemat(self.folder / files["label"], {"labels": labels})
        savemat(
            self.folder / files["setid"],
            {"trnid": splits["train"], "valid": splits["val"], "tstid": splits["test"]},
        )
        sums = {key: (file, md5((self.folder / file).read_bytes())) for key, file in files.items()}
        self.patch(datasets.Flowers102, "_file_dict", sums)
        self.patch(datasets.Flowers102, "_download_url_prefix", self.url)
        return tree


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    folder, asked = tmp_path / "published", list[str]()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path.removeprefix("/"))

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Publisher(folder, f"http://127.0.0.1:{server.server_port}/", asked, monkeypatch)
    server.shutdown()
    thread.join()
    server.server_close()


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_holds(folder: Path, expected: Tree) -> None:
    found = tree_of(folder)
    assert sorted(found) == sorted(expected)
    for path, content in expected.items():
        if isinstance(content, bytes):
            assert found[path] == content, path
            continue
        with Image.open(folder / path) as picture:
            assert picture.mode == ("L" if content.ndim == 2 else "RGB")
            assert np.array_equal(np.asarray(picture), content), path


def unpacked(folder: Path, to: Path) -> Path:
    """The published files as a user would have unpacked them."""
    to.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name.endswith((".tgz", ".tar.gz")):
            with tarfile.open(file) as archive:
                archive.extractall(to, filter="data")
        elif file.suffix == ".gz":
            (to / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        else:
            shutil.copy(file, to)
    return to


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_fetched_once_and_becomes_a_folder_with_every_picture_as_published(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    expected = publish(name)
    made = reslab.get(name, tmp_path / "first")
    assert_holds(made, expected)
    requests = len(publish.asked)
    assert requests > 0
    assert_holds(reslab.get(name, tmp_path / "second"), expected)
    assert len(publish.asked) == requests, "nothing is fetched twice"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "published", "second"]


@pytest.mark.parametrize("name", SETS)
def test_archives_in_a_source_folder_do_as_well_and_the_source_is_only_read(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    expected = publish(name)
    before = tree_of(publish.folder)
    assert_holds(reslab.get(name, tmp_path / "made", source=publish.folder), expected)
    assert tree_of(publish.folder) == before
    assert publish.asked == []
    assert not downloads_folder().exists()


@pytest.mark.parametrize("name", SETS)
def test_a_source_of_links_is_as_good_and_what_they_lead_to_is_checked(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    """A store keeps files by their hashes, and a folder of links gives them their names."""
    expected = publish(name)
    source, store = tmp_path / "source", tmp_path / "store"
    source.mkdir()
    store.mkdir()
    for number, path in enumerate(sorted(publish.folder.iterdir())):
        path.rename(store / str(number))
        (source / path.name).symlink_to(store / str(number))
    assert_holds(reslab.get(name, tmp_path / "made", source=source), expected)
    (store / "0").write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"is damaged(.|\n)*MD5"):
        reslab.get(name, tmp_path / "again", source=source)


@pytest.mark.parametrize("name", SETS)
def test_files_unpacked_already_do_as_well_even_where_torchvision_keeps_them(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    expected = publish(name)
    root = tmp_path / "root"
    place = root / SETS[name].place
    source = unpacked(publish.folder, place)
    before = tree_of(root)
    assert_holds(reslab.get(name, tmp_path / "made", source=source), expected)
    assert_holds(reslab.get(name, tmp_path / "again", source=root), expected)
    assert tree_of(root) == before


def test_the_made_folder_is_one_that_training_reads(publish: Publisher, tmp_path: Path) -> None:
    publish.fashion_mnist(train=40)
    photos = reslab.Photos(reslab.get("fashion-mnist", tmp_path / "made", source=publish.folder))
    assert (len(photos.train) + len(photos.val), len(photos.test)) == (40, 10)
    assert photos.classes[0] == "Ankle boot"
    assert "T-shirt-top" in photos.classes


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 70,000 files are written, and removed again
def test_all_of_the_real_fashion_mnist_comes_out_pixel_for_pixel(tmp_path: Path) -> None:
    source = real_data("fashion-mnist")
    made = reslab.get("fashion-mnist", tmp_path / "made", source=source)
    names = [name.replace("/", "-") for name in datasets.FashionMNIST.classes]
    for split, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        images = gzip.decompress((source / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((source / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
        assert sum(1 for _ in (made / split).glob("*/*.png")) == count
        for i in range(count):
            with Image.open(made / split / names[labels[i]] / f"{i:05}.png") as picture:
                assert picture.mode == "L"
                assert picture.tobytes() == images[784 * i : 784 * (i + 1)]


def test_real_archives_in_another_wrapping_are_taken_and_one_wrong_pixel_in_them_is_not(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    shutil.copytree(real_data("fashion-mnist"), source)
    file = source / "t10k-images-idx3-ubyte.gz"
    file.chmod(0o644)
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[-1] ^= 1
    file.write_bytes(gzip.compress(content, 1))
    with pytest.raises(DownloadError, match="t10k-images-idx3-ubyte.gz is damaged"):
        reslab.get("fashion-mnist", tmp_path / "made", source=source)
    file.unlink()
    file.with_suffix("").write_bytes(content)
    with pytest.raises(DownloadError, match="t10k-images-idx3-ubyte is damaged"):
        reslab.get("fashion-mnist", tmp_path / "made", source=source)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    for call in (
        lambda: reslab.get("fashion-mnits", tmp_path / "made"),
        lambda: download.describe("fashion-mnits"),
        lambda: download.next_command("fashion-mnits", tmp_path),
    ):
        with pytest.raises(UsageError, match="did you mean 'fashion-mnist'\\? known: cifar10"):
            call()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_stands_there_already_is_never_overwritten(
    kind: str, publish: Publisher, tmp_path: Path
) -> None:
    publish.oxford_pets()
    there = tmp_path / "there"
    if kind == "folder":
        there.mkdir()
    elif kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to("nowhere")
    before = there.lstat()
    with pytest.raises(UsageError, match="there exists already"):
        reslab.get("oxford-pets", there, source=publish.folder)
    assert there.lstat().st_ino == before.st_ino
    assert sorted(p.name for p in tmp_path.iterdir()) == ["published", "there"]


def test_a_source_that_lacks_files_is_answered_with_each_that_is_missing(
    publish: Publisher, tmp_path: Path
) -> None:
    publish.fashion_mnist()
    for name in ("train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        (publish.folder / name).unlink()
    with pytest.raises(DownloadError) as caught:
        reslab.get("fashion-mnist", tmp_path / "made", source=publish.folder)
    assert str(publish.folder) in caught.value.what
    assert caught.value.why == (
        "missing: train-labels-idx1-ubyte.gz (or train-labels-idx1-ubyte, unpacked), "
        "t10k-images-idx3-ubyte.gz (or t10k-images-idx3-ubyte, unpacked)"
    )
    assert f"{publish.url}train-labels-idx1-ubyte.gz" in caught.value.do
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("source", "what"), [("nowhere", "is not there"), ("file", "is no folder")])
def test_a_source_that_is_no_folder_is_answered_with_what_it_should_hold(
    source: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=what) as caught:
        reslab.get("cifar10", tmp_path / "made", source=tmp_path / source)
    assert "cifar-10-python.tar.gz (or cifar-10-batches-py, unpacked)" in caught.value.why


@pytest.mark.parametrize("name", SETS)
def test_a_truncated_archive_is_named_and_nothing_is_made(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    publish(name)
    largest = max(publish.folder.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-40])
    with pytest.raises(DownloadError, match=f"{largest.name} is damaged"):
        reslab.get(name, tmp_path / "new" / "made", source=publish.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["published"]


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"no tar")], ids=["not gzip", "not tar"])
def test_what_was_published_damaged_is_an_answer_too(
    content: bytes, publish: Publisher, tmp_path: Path
) -> None:
    publish.imagenette()
    (publish.folder / "imagenette2.tgz").write_bytes(content)
    publish.patch(datasets.Imagenette, "_ARCHIVES", {"full": (f"{publish.url}imagenette2.tgz", md5(content))})
    with pytest.raises(DownloadError, match="imagenette2.tgz is damaged"):
        reslab.get("imagenette", tmp_path / "made", source=publish.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["published"]


def spoil_labels(source: Path) -> None:
    path = source / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-3])


def spoil_batch(source: Path) -> None:
    (source / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"")


def spoil_photo(source: Path) -> None:
    (source / "images" / "Abyssinian_2.jpg").unlink()


def spoil_split(source: Path) -> None:
    shutil.rmtree(source / "imagenette2" / "val")


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("fashion-mnist", spoil_labels, ""),
        ("cifar10", spoil_batch, "corrupted"),
        ("oxford-pets", spoil_photo, "1 of 12 photos are missing, the first is Abyssinian_2.jpg"),
        ("imagenette", spoil_split, "val"),
    ],
)
def test_unpacked_files_that_make_no_whole_set_are_an_answer(
    name: str, spoil: Callable[[Path], None], why: str, publish: Publisher, tmp_path: Path
) -> None:
    publish(name)
    source = unpacked(publish.folder, tmp_path / "source")
    spoil(source)
    with pytest.raises(DownloadError, match="incomplete") as caught:
        reslab.get(name, tmp_path / "made", source=source)
    assert str(source) in caught.value.what
    assert why in caught.value.why
    assert sorted(p.name for p in tmp_path.iterdir()) == ["published", "source"]


def test_a_copy_of_another_size_than_published_is_remarked(
    publish: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish.oxford_pets()
    with caplog.at_level(logging.WARNING, logger="reslab"):
        reslab.get("oxford-pets", tmp_path / "made", source=publish.folder)
    assert "oxford-pets has 3,680 train, 3,669 test; this copy has 8 train, 4 test" in caplog.text


def test_offline_the_answer_says_what_from_where_and_how_to_do_it_by_hand(
    publish: Publisher, tmp_path: Path
) -> None:
    publish.oxford_pets()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        resources = [(url + name, "0" * 32) for name in ("images.tar.gz", "annotations.tar.gz")]
        publish.patch(datasets.OxfordIIITPet, "_RESOURCES", resources)
        with pytest.raises(DownloadError) as caught:
            reslab.get("oxford-pets", tmp_path / "made")
    assert caught.value.what == "images.tar.gz of oxford-pets could not be fetched"
    assert f"{url}images.tar.gz: " in caught.value.why
    assert "refused" in caught.value.why
    assert f"{url}images.tar.gz, {url}annotations.tar.gz" in caught.value.do
    assert "--source" in caught.value.do
    assert [p.name for p in tmp_path.iterdir()] == ["published"]


def test_a_file_that_is_not_there_or_not_the_published_one_is_an_answer_and_not_kept(
    publish: Publisher, tmp_path: Path
) -> None:
    publish.cifar10()
    archive = publish.folder / "cifar-10-python.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-9])
    with pytest.raises(DownloadError, match="did not arrive whole"):
        reslab.get("cifar10", tmp_path / "made")
    archive.unlink()
    with pytest.raises(DownloadError, match="404"):
        reslab.get("cifar10", tmp_path / "made")
    assert [p.name for p in downloads_folder().iterdir()] == [".lock"]
    archive.write_bytes(whole)
    assert reslab.get("cifar10", tmp_path / "made").is_dir()


def test_a_server_that_falls_silent_is_given_up(publish: Publisher, tmp_path: Path) -> None:
    publish.cifar10()
    publish.patch(foreign, "SERVER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # who calls is put through, and hears nothing
        publish.patch(datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/set.tar.gz")
        with pytest.raises(DownloadError, match="could not be fetched") as caught:
            reslab.get("cifar10", tmp_path / "made")
    assert "timed out" in caught.value.why
    assert "--source" in caught.value.do


def test_a_mirror_that_is_down_is_passed_over(publish: Publisher, tmp_path: Path) -> None:
    expected = publish.fashion_mnist()
    publish.patch(datasets.FashionMNIST, "mirrors", [f"{publish.url}gone/", publish.url])
    assert_holds(reslab.get("fashion-mnist", tmp_path / "made"), expected)


def test_what_a_killed_download_left_is_cleaned_up(publish: Publisher, tmp_path: Path) -> None:
    publish.cifar10()
    downloads_folder().mkdir(parents=True)
    (downloads_folder() / "cifar-10-python.tar.gz.0123.partial").write_bytes(b"half")
    (downloads_folder() / "cifar-10-python.tar.gz").write_bytes(b"damaged since")
    reslab.get("cifar10", tmp_path / "made")
    assert sorted(p.name for p in downloads_folder().iterdir()) == [".lock", "cifar-10-python.tar.gz"]


def test_a_full_disk_is_an_answer_and_leaves_nothing(
    publish: Publisher, small_disk: Callable[..., Path]
) -> None:
    publish.fashion_mnist(train=2_000)
    disk = small_disk()
    with pytest.raises(DownloadError, match="could not be written") as caught:
        reslab.get("fashion-mnist", disk / "new" / "made", source=publish.folder)
    assert "No space left" in caught.value.why
    assert list(disk.iterdir()) == []


def test_a_folder_or_a_cache_that_cannot_be_written_is_an_answer(
    publish: Publisher, small_disk: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.cifar10()
    disk = small_disk("ro")
    with pytest.raises(DownloadError, match="made could not be written"):
        reslab.get("cifar10", disk / "made", source=publish.folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk / "cache"))
    with pytest.raises(DownloadError, match="archives of cifar10 could not be kept in") as caught:
        reslab.get("cifar10", tmp_path / "made")
    assert "XDG_CACHE_HOME" in caught.value.do


@pytest.fixture
def many_pets(tmp_path: Path) -> Path:
    """Pets as their archives unpack, without any hash: a source for real processes."""
    source = tmp_path / "source"
    (source / "annotations").mkdir(parents=True)
    make_photo(source / "images" / "Abyssinian_0.jpg", 0, (90, 90, 90), (400, 400))
    first = source / "images" / "Abyssinian_0.jpg"
    stems = ["Abyssinian_0", *(f"{('Abyssinian', 'beagle')[i % 2]}_{i}" for i in range(1, 3_000))]
    for stem in stems[1:]:
        os.link(first, source / "images" / f"{stem}.jpg")
    for split, part in (("trainval", stems[:2_000]), ("test", stems[2_000:])):
        rows = (f"{stem} {1 + (stem[0] == 'b')} {1 + (stem[0] == 'b')} 1\n" for stem in part)
        (source / "annotations" / f"{split}.txt").write_text("".join(rows))
    return source


@contextmanager
def stopped_while_it_writes(source: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of its work, however fast the machine is; killed in the end."""
    command = [sys.executable, "-m", "reslab", "get", "oxford-pets", str(folder), "--source", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not any(folder.parent.glob(f".{folder.name}.*/photos/*/*/*.jpg")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            process.send_signal(signal.SIGSTOP)
            assert not folder.exists()
            yield process
        finally:
            process.kill()


def test_after_kill_9_nothing_stands_at_the_name_and_the_next_call_cleans_up(
    many_pets: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "pets"
    with (
        stopped_while_it_writes(many_pets, folder),
        pytest.raises(DownloadError, match="is being made by another process"),
    ):
        reslab.get("oxford-pets", folder, source=many_pets)
    assert not folder.exists()
    assert list(folder.parent.iterdir()) != []
    reslab.get("oxford-pets", folder, source=many_pets)
    assert [p.name for p in folder.parent.iterdir()] == ["pets"]
    assert len(tree_of(folder)) == 3_000


def test_ctrl_c_leaves_nothing(many_pets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "pets"
    with stopped_while_it_writes(many_pets, folder) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "interrupted")
    assert not folder.parent.exists()


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_described_with_its_splits_and_its_origin(name: str) -> None:
    line = download.describe(name)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    assert " train, " in line
    assert "licence" in line or "research" in line


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, reslab.datasets.fetch as d; d.describe('cifar10'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_benchmark_trains_on_a_subset_reports_beside_d2l_and_can_be_called_again(
    publish: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish.fashion_mnist(train=120, test=40)
    main = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "fashion_mnist.py"))["main"]
    folder = tmp_path / "fashion"
    arguments = ["--source", str(publish.folder), "--folder", str(folder), "--precision", "fp32"]
    main([*arguments, "--photos", "30", "--epochs", "1", "--size", "32"])
    first = capsys.readouterr().out.splitlines()[-4:]
    assert re.match(
        r"reslab  test accuracy 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] over 20 pictures; 28 to train", first[0]
    )
    assert first[1].startswith("d2l     test accuracy 0.893 over 10,000 pictures")
    assert first[2].startswith("32 x 32 pixels, precision fp32, ")
    main(arguments)
    again = capsys.readouterr().out.splitlines()
    assert again == [f"{folder / 'run'} is finished: nothing to go on with", *first]
