"""The public data sets: what each is, which files it is published as, and how torchvision reads its splits.

Addresses, checksums, class names and splits are torchvision's own, read from its classes when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W) grey or (H, W, 3)
Item = tuple[str, str, Path | Pixels]  # folder of the class, file name, a photo to copy or pixels to write


@dataclass(frozen=True)
class Archive:
    """One file that a data set is published as.

    `urls`: mirrors of the same file; `unpacked`: what it unpacks to, which will do as well, or None for a
    file that is used as it is; `content_md5`: of the one file in it, where that is known.
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
    """A row of the table below.

    `place`: where below its root torchvision looks for the files; `advice`: flags of a good first training;
    `splits(root)`: every photo of every split, train first.
    """

    what: str
    counts: Mapping[str, int]
    origin: str
    advice: str
    place: str
    archives: Callable[[], tuple[Archive, ...]]
    splits: Callable[[Path], dict[str, list[Item]]]


# Copies of Fashion-MNIST go about whose gzip headers lack the file's name, so that the published MD5 (left)
# does not fit although nothing is wrong with them; the content's (right) does. Proof that it is the published
# content: with the name and a time of August 2017 put back, all four files have the published MD5 again.
_CONTENT_MD5 = {
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d": "f4a8712d7a061bf5bd6d2ca38dc4d50a",  # train-images
    "25c81989df183df01b3e8a0aad5dffbe": "9018921c3c673c538a1fc5bad174d6f9",  # train-labels
    "bef4ecab320f06d8554ea6380940ec79": "8181f5470baa50b63fa0f6fddb340f0a",  # t10k-images
    "bb300cfdad3c16e7a12a480ee83cd310": "15d484375f8d13e6eb1aabb0c3f46965",  # t10k-labels
}


def class_folder(name: str) -> str:
    """The name of a class as the name of a folder: T-shirt/top is T-shirt-top, a question mark goes."""
    return name.replace("/", "-").replace("?", "")


def _pictures(pixels: Any, labels: Iterable[Any], classes: list[str]) -> list[Item]:
    """Pictures (N, H, W[, 3]) under their number in the published file."""
    pairs = zip(np.asarray(pixels), labels, strict=True)
    return [
        (class_folder(classes[int(label)]), f"{i:05}.png", image) for i, (image, label) in enumerate(pairs)
    ]


def _photos(samples: Iterable[tuple[Any, int]], classes: list[str]) -> list[Item]:
    paths = ((Path(path), label) for path, label in samples)
    return [(class_folder(classes[label]), path.name, path) for path, label in paths]


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


def _fashion_mnist(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import FashionMNIST

    splits = {split: FashionMNIST(root, train=split == "train") for split in ("train", "test")}
    return {split: _pictures(it.data, it.targets, it.classes) for split, it in splits.items()}


def _cifar10_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import CIFAR10

    return (Archive((CIFAR10.url,), CIFAR10.tgz_md5, CIFAR10.base_folder),)


def _cifar10(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import CIFAR10

    splits = {split: CIFAR10(root, train=split == "train") for split in ("train", "test")}
    return {split: _pictures(it.data, it.targets, it.classes) for split, it in splits.items()}


def _pets_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import OxfordIIITPet

    (images, images_md5), (annotations, annotations_md5) = OxfordIIITPet._RESOURCES
    return (
        Archive((images,), images_md5, "images"),
        Archive((annotations,), annotations_md5, "annotations"),
    )


def _pets(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import OxfordIIITPet

    splits = {"train": OxfordIIITPet(root, "trainval"), "test": OxfordIIITPet(root, "test")}
    return {
        split: _photos(zip(it._images, it._labels, strict=True), it.classes) for split, it in splits.items()
    }


def _cats_dogs(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import OxfordIIITPet

    splits = {"train": OxfordIIITPet(root, "trainval"), "test": OxfordIIITPet(root, "test")}
    return {
        # torchvision's are Cat and Dog; in lower case they match other folders of cats and dogs
        split: _photos(
            zip(it._images, it._bin_labels, strict=True), [name.lower() for name in it.bin_classes]
        )
        for split, it in splits.items()
    }


def _imagenette_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import Imagenette

    url, md5 = Imagenette._ARCHIVES["full"]
    return (Archive((url,), md5, Path(url).stem),)


def _imagenette(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import Imagenette

    # published as train and val; everybody reports on val and nothing else is left, so it is the test split
    splits = {
        name: Imagenette(root, split, loader=str) for name, split in (("train", "train"), ("test", "val"))
    }
    return {
        name: _photos((it[i] for i in range(len(it))), [names[0] for names in it.classes])
        for name, it in splits.items()
    }


def _flowers_archives() -> tuple[Archive, ...]:
    from torchvision.datasets import Flowers102

    prefix, files = Flowers102._download_url_prefix, Flowers102._file_dict
    unpacked = {"image": "jpg", "label": None, "setid": None}
    return tuple(Archive((prefix + files[key][0],), files[key][1], unpacked[key]) for key in unpacked)


def _flowers(root: Path) -> dict[str, list[Item]]:
    from torchvision.datasets import Flowers102

    splits = {split: Flowers102(root, split, loader=str) for split in ("train", "val", "test")}
    return {split: _photos((it[i] for i in range(len(it))), it.classes) for split, it in splits.items()}


_PETS = "Parkhi et al. 2012, Cats and Dogs; licence CC BY-SA 4.0"
_FINETUNE = "--weights imagenet --recipe finetune"

SETS = {
    "fashion-mnist": PublicSet(
        "70,000 grey pictures of clothes, 28 x 28, in 10 classes",
        {"train": 60_000, "test": 10_000},
        "Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; licence MIT",
        "--network textbook_resnet18 --recipe textbook",
        "FashionMNIST/raw",
        _fashion_mnist_archives,
        _fashion_mnist,
    ),
    "cifar10": PublicSet(
        "60,000 colour pictures, 32 x 32, in 10 classes",
        {"train": 50_000, "test": 10_000},
        "Krizhevsky 2009, Learning multiple layers of features from tiny images; no licence stated",
        "--network cifar_resnet20 --size 32",
        "",
        _cifar10_archives,
        _cifar10,
    ),
    "oxford-pets": PublicSet(
        "7,349 photos of 37 breeds of cats and dogs",
        {"train": 3_680, "test": 3_669},
        _PETS,
        _FINETUNE,
        "oxford-iiit-pet",
        _pets_archives,
        _pets,
    ),
    "oxford-pets-cats-dogs": PublicSet(
        "7,349 photos, cats against dogs",
        {"train": 3_680, "test": 3_669},
        _PETS,
        _FINETUNE,
        "oxford-iiit-pet",
        _pets_archives,
        _cats_dogs,
    ),
    "imagenette": PublicSet(
        "13,394 photos in 10 easily told classes of ImageNet",
        {"train": 9_469, "test": 3_925},
        "Howard 2019, fast.ai; the photos are ImageNet's, for research that is not commercial",
        "",
        "",
        _imagenette_archives,
        _imagenette,
    ),
    "flowers102": PublicSet(
        "8,189 photos of 102 kinds of flowers",
        {"train": 1_020, "val": 1_020, "test": 6_149},
        "Nilsback and Zisserman 2008; no licence stated",
        _FINETUNE,
        "flowers-102",
        _flowers_archives,
        _flowers,
    ),
}
