"""Catalog of the public data sets: their archives, and how torchvision reads their splits.

URLs, checksums, class names and splits come from torchvision's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W) grey or (H, W, 3)
Item = tuple[str, str, Path | Pixels]  # class folder, file name, photo to copy or pixels to write


@dataclass(frozen=True)
class Archive:
    """Published file of a data set.

    Attributes:
        urls: mirrors of the file, the preferred one first; they end in its name.
        md5: checksum of the file.
        unpacked: name of the file or folder that it unpacks to; None for a file that is used as it is.
        content_md5: checksum of the single file in it; None if unknown, or for several files.
    """

    urls: tuple[str, ...]
    md5: str
    unpacked: str | None = None
    content_md5: str | None = None

    @property
    def name(self) -> str:
        return self.urls[0].rsplit("/", 1)[-1]


@dataclass(frozen=True)
class PublicSet:
    """Public data set.

    Attributes:
        description: content in a few words.
        counts: number of photos in each split, as published.
        origin: authors and license.
        train_flags: flags of `reslab train` that suit the data set, "" if the defaults do.
        place: folder of the files below torchvision's root, "" for the root itself.
        archives: returns the published files.
        splits: takes torchvision's root and returns the items of each split, train first.
    """

    description: str
    counts: Mapping[str, int]
    origin: str
    train_flags: str
    place: str
    archives: Callable[[], tuple[Archive, ...]]
    splits: Callable[[Path], dict[str, list[Item]]]


# Some copies of Fashion-MNIST have gzip headers without a file name. Their MD5 differs from the published one
# (left), but that of their content (right) does not. With the name and a time of August 2017 put back, all
# four files have the published MD5.
_CONTENT_MD5 = {
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d": "f4a8712d7a061bf5bd6d2ca38dc4d50a",  # train-images
    "25c81989df183df01b3e8a0aad5dffbe": "9018921c3c673c538a1fc5bad174d6f9",  # train-labels
    "bef4ecab320f06d8554ea6380940ec79": "8181f5470baa50b63fa0f6fddb340f0a",  # t10k-images
    "bb300cfdad3c16e7a12a480ee83cd310": "15d484375f8d13e6eb1aabb0c3f46965",  # t10k-labels
}


def _class_folder(name: str) -> str:
    """Return the folder name of a class: a slash becomes a hyphen, and question marks are left out."""
    return name.replace("/", "-").replace("?", "")


def _file_items(samples: Iterable[tuple[Any, int]], classes: list[str]) -> list[Item]:
    paths = ((Path(path), label) for path, label in samples)
    return [(_class_folder(classes[label]), path.name, path) for path, label in paths]


def _array_splits(dataset: str, root: Path) -> dict[str, list[Item]]:
    """Return the train and test items of a data set of arrays (N, H, W[, 3]), numbered as published.

    `dataset` is the name of its class in torchvision.datasets, `root` the folder for that class.
    """
    from torchvision import datasets

    def items(data: Any) -> list[Item]:
        pairs = zip(np.asarray(data.data), data.targets, strict=True)
        return [
            (_class_folder(data.classes[int(label)]), f"{i:05}.png", image)
            for i, (image, label) in enumerate(pairs)
        ]

    kind = getattr(datasets, dataset)
    return {split: items(kind(root, train=split == "train")) for split in ("train", "test")}


def _fashion_mnist_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import FashionMNIST

    return tuple(
        Archive(
            tuple(mirror + name for mirror in FashionMNIST.mirrors),
            md5,
            name.removesuffix(".gz"),
            _CONTENT_MD5.get(md5),
        )
        for name, md5 in FashionMNIST.resources
    )


def _cifar10_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import CIFAR10

    return (Archive((CIFAR10.url,), CIFAR10.tgz_md5, CIFAR10.base_folder),)


def _pets_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import OxfordIIITPet

    (images, images_md5), (annotations, annotations_md5) = OxfordIIITPet._RESOURCES
    return (
        Archive((images,), images_md5, "images"),
        Archive((annotations,), annotations_md5, "annotations"),
    )


def _pets(species: bool, root: Path) -> dict[str, list[Item]]:
    """Return the items of trainval, as train, and of test, in 37 classes: the breeds.

    With `species` the classes are cat and dog, in lower case as in other folders of cats and dogs.
    """
    from torchvision.datasets import OxfordIIITPet

    def items(data: Any) -> list[Item]:
        labels = data._bin_labels if species else data._labels
        classes = [name.lower() for name in data.bin_classes] if species else data.classes
        return _file_items(zip(data._images, labels, strict=True), classes)

    return {"train": items(OxfordIIITPet(root, "trainval")), "test": items(OxfordIIITPet(root, "test"))}


def _imagenette_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import Imagenette

    url, md5 = Imagenette._ARCHIVES["full"]
    return (Archive((url,), md5, Path(url).stem),)


def _imagenette(root: Path) -> dict[str, list[Item]]:
    """Return the items of the published train, and of val as test, since results are reported on val."""
    from torchvision.datasets import Imagenette

    splits = {"train": Imagenette(root, "train", loader=str), "test": Imagenette(root, "val", loader=str)}
    return {name: _file_items(data, [names[0] for names in data.classes]) for name, data in splits.items()}


def _flowers_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import Flowers102

    prefix, files = Flowers102._download_url_prefix, Flowers102._file_dict
    unpacked = {"image": "jpg", "label": None, "setid": None}
    return tuple(Archive((prefix + files[key][0],), files[key][1], unpacked[key]) for key in unpacked)


def _flowers(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import Flowers102

    splits = {split: Flowers102(root, split, loader=str) for split in ("train", "val", "test")}
    return {split: _file_items(data, data.classes) for split, data in splits.items()}


_PETS = "Parkhi et al. 2012, Cats and Dogs; license CC BY-SA 4.0"
_FINETUNE = "--weights imagenet --recipe finetune"

SETS = {
    "fashion-mnist": PublicSet(
        "70,000 grey images of clothes, 28 x 28, in 10 classes",
        {"train": 60_000, "test": 10_000},
        "Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; license MIT",
        "--network textbook_resnet18 --recipe textbook",
        "FashionMNIST/raw",
        _fashion_mnist_archives,
        partial(_array_splits, "FashionMNIST"),
    ),
    "cifar10": PublicSet(
        "60,000 color images, 32 x 32, in 10 classes",
        {"train": 50_000, "test": 10_000},
        "Krizhevsky 2009, Learning multiple layers of features from tiny images; no license stated",
        "--network cifar_resnet20 --size 32",
        "",
        _cifar10_archives,
        partial(_array_splits, "CIFAR10"),
    ),
    "oxford-pets": PublicSet(
        "7,349 photos of 37 breeds of cats and dogs",
        {"train": 3_680, "test": 3_669},
        _PETS,
        _FINETUNE,
        "oxford-iiit-pet",
        _pets_archives,
        partial(_pets, False),
    ),
    "oxford-pets-cats-dogs": PublicSet(
        "7,349 photos, cats against dogs",
        {"train": 3_680, "test": 3_669},
        _PETS,
        _FINETUNE,
        "oxford-iiit-pet",
        _pets_archives,
        partial(_pets, True),
    ),
    "imagenette": PublicSet(
        "13,394 photos in 10 easily distinguished classes of ImageNet",
        {"train": 9_469, "test": 3_925},
        "Howard 2019, fast.ai; the photos are ImageNet's, for non-commercial research",
        "",
        "",
        _imagenette_archives,
        _imagenette,
    ),
    "flowers102": PublicSet(
        "8,189 photos of 102 kinds of flowers",
        {"train": 1_020, "val": 1_020, "test": 6_149},
        "Nilsback and Zisserman 2008; no license stated",
        _FINETUNE,
        "flowers-102",
        _flowers_archives,
        _flowers,
    ),
}
