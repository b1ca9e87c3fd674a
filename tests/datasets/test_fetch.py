"""Public data sets as photo folders: complete, lossless, in the official splits; or an error and no folder.

A local HTTP server offers tiny archives in each data set's own format. Only torchvision's URLs and checksums
are changed.
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
from reslab.datasets import fetch
from reslab.datasets.catalog import SETS
from reslab.errors import DownloadError, UsageError
from reslab.files import cache_path

Tree = dict[str, bytes | NDArray[np.uint8]]  # path in the folder -> a photo's bytes or an image's pixels


def pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photo(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed, 12, 16, 3)).save(file, "JPEG")
    return file.getvalue()


def tar(path: Path, contents: dict[str, bytes]) -> str:
    """Write a .tar.gz and return its MD5."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return md5(path.read_bytes())


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Publisher:
    """Publish a tiny data set in `folder`, served at `url`, and return the expected content of a folder."""

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
        with Image.open(folder / path) as image:
            assert image.mode == ("L" if content.ndim == 2 else "RGB")
            assert np.array_equal(np.asarray(image), content), path


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
def test_a_data_set_is_downloaded_once_and_written_as_published(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    expected = publish(name)
    made = reslab.get(name, tmp_path / "first")
    assert_holds(made, expected)
    requests = len(publish.asked)
    assert requests > 0
    assert_holds(reslab.get(name, tmp_path / "second"), expected)
    assert len(publish.asked) == requests, "nothing is downloaded twice"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "published", "second"]


@pytest.mark.parametrize("name", SETS)
def test_archives_in_a_source_folder_are_used_and_not_changed(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    expected = publish(name)
    before = tree_of(publish.folder)
    assert_holds(reslab.get(name, tmp_path / "made", source=publish.folder), expected)
    assert tree_of(publish.folder) == before
    assert publish.asked == []
    assert not cache_path("downloads").exists()


@pytest.mark.parametrize("name", SETS)
def test_links_in_a_source_folder_are_followed_and_checked(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    """Some stores keep files by their hashes, and name them by links."""
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
def test_unpacked_files_are_used_also_below_torchvisions_root(
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


def test_photos_reads_the_folder(publish: Publisher, tmp_path: Path) -> None:
    publish.fashion_mnist(train=40)
    photos = reslab.Photos(reslab.get("fashion-mnist", tmp_path / "made", source=publish.folder))
    assert (len(photos.train) + len(photos.val), len(photos.test)) == (40, 10)
    assert photos.classes[0] == "Ankle boot"
    assert "T-shirt-top" in photos.classes


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 70,000 files are written, and removed again
def test_the_whole_of_fashion_mnist_is_pixel_identical(tmp_path: Path) -> None:
    source = real_data("fashion-mnist")
    made = reslab.get("fashion-mnist", tmp_path / "made", source=source)
    names = [name.replace("/", "-") for name in datasets.FashionMNIST.classes]
    for split, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        images = gzip.decompress((source / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((source / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
        assert sum(1 for _ in (made / split).glob("*/*.png")) == count
        for i in range(count):
            with Image.open(made / split / names[labels[i]] / f"{i:05}.png") as image:
                assert image.mode == "L"
                assert image.tobytes() == images[784 * i : 784 * (i + 1)]


@pytest.mark.slow
def test_archives_compressed_again_are_accepted_and_a_wrong_pixel_is_not(
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


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path) -> None:
    for call in (
        lambda: reslab.get("fashion-mnits", tmp_path / "made"),
        lambda: fetch.describe("fashion-mnits"),
        lambda: fetch.next_command("fashion-mnits", tmp_path),
    ):
        with pytest.raises(UsageError, match="did you mean 'fashion-mnist'\\? known: cifar10"):
            call()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(kind: str, publish: Publisher, tmp_path: Path) -> None:
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


def test_missing_files_of_a_source_are_named(publish: Publisher, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("source", "what"), [("nowhere", "there is no source"), ("file", "is not a folder")])
def test_a_source_that_is_not_a_folder_is_an_error_with_the_expected_files(
    source: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=what) as caught:
        reslab.get("cifar10", tmp_path / "made", source=tmp_path / source)
    assert "cifar-10-python.tar.gz (or cifar-10-batches-py, unpacked)" in caught.value.why


@pytest.mark.parametrize("name", SETS)
def test_a_truncated_archive_is_an_error_and_no_folder_remains(
    name: str, publish: Publisher, tmp_path: Path
) -> None:
    publish(name)
    largest = max(publish.folder.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-40])
    with pytest.raises(DownloadError, match=f"{largest.name} is damaged"):
        reslab.get(name, tmp_path / "made", source=publish.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["published"]


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"no tar")], ids=["not gzip", "not tar"])
def test_an_archive_that_was_published_damaged_is_an_error(
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
def test_incomplete_unpacked_files_are_an_error(
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


def test_a_copy_of_another_size_is_a_warning(
    publish: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish.oxford_pets()
    with caplog.at_level(logging.WARNING, logger="reslab"):
        reslab.get("oxford-pets", tmp_path / "made", source=publish.folder)
    assert "oxford-pets has 3,680 train, 3,669 test; this copy has 8 train, 4 test" in caplog.text


def test_the_error_offline_names_the_urls_and_the_source_option(publish: Publisher, tmp_path: Path) -> None:
    publish.oxford_pets()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        resources = [(url + name, "0" * 32) for name in ("images.tar.gz", "annotations.tar.gz")]
        publish.patch(datasets.OxfordIIITPet, "_RESOURCES", resources)
        with pytest.raises(DownloadError) as caught:
            reslab.get("oxford-pets", tmp_path / "made")
    assert caught.value.what == "images.tar.gz of oxford-pets could not be downloaded"
    assert f"{url}images.tar.gz: " in caught.value.why
    assert "refused" in caught.value.why
    assert f"{url}images.tar.gz, {url}annotations.tar.gz" in caught.value.do
    assert "--source" in caught.value.do
    assert [p.name for p in tmp_path.iterdir()] == ["published"]


def test_a_missing_or_changed_download_is_an_error_and_not_kept(publish: Publisher, tmp_path: Path) -> None:
    publish.cifar10()
    archive = publish.folder / "cifar-10-python.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-9])
    with pytest.raises(DownloadError, match="arrived incomplete"):
        reslab.get("cifar10", tmp_path / "made")
    archive.unlink()
    with pytest.raises(DownloadError, match="404"):
        reslab.get("cifar10", tmp_path / "made")
    assert [p.name for p in cache_path("downloads").iterdir()] == [".lock"]
    archive.write_bytes(whole)
    assert reslab.get("cifar10", tmp_path / "made").is_dir()


def test_a_silent_server_times_out(publish: Publisher, tmp_path: Path) -> None:
    publish.cifar10()
    publish.patch(foreign, "SERVER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        publish.patch(datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/set.tar.gz")
        with pytest.raises(DownloadError, match="could not be downloaded") as caught:
            reslab.get("cifar10", tmp_path / "made")
    assert "timed out" in caught.value.why
    assert "--source" in caught.value.do


def test_the_next_mirror_is_tried(publish: Publisher, tmp_path: Path) -> None:
    expected = publish.fashion_mnist()
    publish.patch(datasets.FashionMNIST, "mirrors", [f"{publish.url}gone/", publish.url])
    assert_holds(reslab.get("fashion-mnist", tmp_path / "made"), expected)


def test_leftovers_of_a_killed_download_are_removed(publish: Publisher, tmp_path: Path) -> None:
    publish.cifar10()
    cache_path("downloads").mkdir(parents=True)
    (cache_path("downloads") / "cifar-10-python.tar.gz.0123.partial").write_bytes(b"half")
    (cache_path("downloads") / "cifar-10-python.tar.gz").write_bytes(b"damaged since")
    reslab.get("cifar10", tmp_path / "made")
    assert sorted(p.name for p in cache_path("downloads").iterdir()) == [".lock", "cifar-10-python.tar.gz"]


def test_a_full_disk_is_an_error_and_no_folder_remains(
    publish: Publisher, small_disk: Callable[..., Path]
) -> None:
    publish.fashion_mnist(train=2_000)
    disk = small_disk()
    with pytest.raises(DownloadError, match="could not be written") as caught:
        reslab.get("fashion-mnist", disk / "made", source=publish.folder)
    assert "No space left" in caught.value.why
    assert list(disk.iterdir()) == []


def test_a_read_only_folder_or_cache_is_an_error(
    publish: Publisher, small_disk: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.cifar10()
    disk = small_disk("ro")
    with pytest.raises(DownloadError, match="made could not be written"):
        reslab.get("cifar10", disk / "made", source=publish.folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk / "cache"))
    with pytest.raises(DownloadError, match="archives of cifar10 could not be stored in") as caught:
        reslab.get("cifar10", tmp_path / "made")
    assert "XDG_CACHE_HOME" in caught.value.do


@pytest.fixture
def many_pets(tmp_path: Path) -> Path:
    """Unpacked pets, which have no checksums: a source for other processes."""
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
    """A process that is stopped while it writes photos, and killed at the end."""
    command = [sys.executable, "-m", "reslab", "get", "oxford-pets", str(folder), "--source", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not any(folder.parent.glob(f".{folder.name}.*/*/*/*.jpg")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            process.send_signal(signal.SIGSTOP)
            assert not folder.exists()
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_call_leaves_no_folder_and_the_next_one_succeeds(many_pets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    with stopped_while_it_writes(many_pets, folder):
        pass
    assert not folder.exists()
    reslab.get("oxford-pets", folder, source=many_pets)
    assert len(tree_of(folder)) == 3_000


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(many_pets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    with stopped_while_it_writes(many_pets, folder) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", SETS)
def test_describe_names_splits_and_origin(name: str) -> None:
    line = fetch.describe(name)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    assert " train, " in line
    assert "license" in line or "research" in line


def test_importing_fetch_does_not_import_torch() -> None:
    code = "import sys, reslab.datasets.fetch as d; d.describe('cifar10'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_the_fashion_mnist_benchmark_runs_and_resumes(
    publish: Publisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish.fashion_mnist(train=120, test=40)
    main = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "fashion_mnist.py"))["main"]
    folder = tmp_path / "fashion"
    arguments = ["--source", str(publish.folder), "--folder", str(folder), "--precision", "fp32"]
    main([*arguments, "--photos", "30", "--epochs", "1", "--size", "32"])
    first = capsys.readouterr().out.splitlines()[-4:]
    assert re.match(
        r"reslab  test accuracy 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] over 20 images; 28 to train", first[0]
    )
    assert first[1].startswith("d2l     test accuracy 0.893 over 10,000 images")
    assert first[2].startswith("32 x 32 pixels, precision fp32, ")
    main(arguments)
    again = capsys.readouterr().out.splitlines()
    assert again == [f"{folder / 'run'} is finished: nothing to resume", *first]
