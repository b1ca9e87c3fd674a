"""Photos of more than 8 bits: one range of values for a data set, and .npy arrays."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import reslab
from reslab.errors import PhotosError
from reslab.photos.decoding.decode import decode, is_deep_file
from reslab.photos.loading.data_range import DataRange, find_data_range, note_on_values
from reslab.photos.loading.preprocess import Preprocess

Values = NDArray[np.generic]
CT = (-1024, 3071)


def scene(seed: int, side: int = 48) -> NDArray[np.float64]:
    """Return values from 0 to 1, (side, side)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = np.sin(x * generator.uniform(3, 9)) * np.cos(y * generator.uniform(3, 9))
    return np.clip(0.5 + 0.45 * waves + generator.normal(0, 0.05, (side, side)), 0, 1)


# {kind: (suffix, from values 0 to 1 to those of the file)}
KINDS: dict[str, tuple[str, Callable[[NDArray[np.float64]], Values]]] = {
    "16-bit PNG": (".png", lambda v: (v * 65_535).astype(np.uint16)),
    "12 bits in 16-bit PNG": (".png", lambda v: (v * 4095).astype(np.uint16)),
    "10 bits in 16-bit TIFF": (".tif", lambda v: (v * 1023).astype(np.uint16)),
    "float TIFF": (".tif", lambda v: v.astype(np.float32)),
    "int32 CT": (".tif", lambda v: (CT[0] + v * (CT[1] - CT[0])).astype(np.int32)),
    "int16 array": (".npy", lambda v: (CT[0] + v * (CT[1] - CT[0])).astype(np.int16)),
    "float array": (".npy", lambda v: v.astype(np.float64)),
    "uint16 color array": (".npy", lambda v: (np.stack([v, v**2, 1 - v], -1) * 4095).astype(np.uint16)),
}


def write(path: Path, values: Values) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def largest(dtype: np.dtype[np.generic]) -> float:
    return float(np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max)


def make_set(folder: Path, kind: str, count: int = 12) -> list[str]:
    suffix, convert = KINDS[kind]
    return [str(write(folder / f"{i}{suffix}", convert(scene(i))).relative_to(folder)) for i in range(count)]


def range_of(folder: Path, paths: list[str]) -> tuple[float, float]:
    found = find_data_range(folder, paths)
    assert found is not None
    return found.low, found.high


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_do_not_depend_on_other_files_their_order_or_the_batch(kind: str, tmp_path: Path) -> None:
    paths = make_set(tmp_path, kind)
    values = range_of(tmp_path, paths)
    assert range_of(tmp_path, paths[::-1]) == values
    preprocess = Preprocess(size=32, resize=40, value_range=values)
    alone = preprocess.read(tmp_path / paths[3])
    assert torch.equal(preprocess.read((tmp_path / paths[3]).read_bytes()), alone)
    expected = KINDS[kind][1](scene(3)).astype(float)
    levels = ((expected - values[0]) / (values[1] - values[0]) * 255).round().clip(0, 255).astype(np.uint8)
    oracle = preprocess.shrink(Image.fromarray(levels).convert("RGB"))
    assert torch.equal(alone, oracle)
    assert len(np.unique(alone)) > 150, "the whole range is used"


@pytest.mark.parametrize("kind", KINDS)
def test_hot_pixels_do_not_change_the_range(kind: str, tmp_path: Path) -> None:
    before = range_of(tmp_path, paths := make_set(tmp_path, kind))
    suffix, convert = KINDS[kind]
    for i in range(0, 12, 3):
        values = convert(scene(i))
        values.reshape(-1)[7] = largest(values.dtype)
        write(tmp_path / f"{i}{suffix}", values)
    low, high = range_of(tmp_path, paths)
    assert max(abs(low - before[0]), abs(high - before[1])) < 0.005 * (before[1] - before[0])


def test_a_float_just_above_1_stays_white_and_changes_nothing_else(tmp_path: Path) -> None:
    values = scene(0).astype(np.float32)
    hot = values.copy()
    hot[0, 0] = 1.004
    for value_range in (None, (0.0, 1.0)):
        one, other = (
            np.asarray(decode(write(tmp_path / f"{name}.tif", v), "L", value_range=value_range))
            for name, v in (("one", values), ("other", hot))
        )
        assert (one != other).sum() <= 1
        assert other[0, 0] == 255


def test_8_bit_photos_have_no_range_and_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray((scene(1) * 255).astype(np.uint8))
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp"):
        image.save(tmp_path / name)
        ranged = Preprocess(size=32, resize=40, value_range=(0, 9))
        plain = Preprocess(size=32, resize=40)
        assert torch.equal(ranged.read(tmp_path / name), plain.read(tmp_path / name))
        assert not is_deep_file(tmp_path / name)
    np.save(tmp_path / "a.npy", np.asarray(image))
    assert find_data_range(tmp_path, ["a.png", "a.jpg", "a.tif", "a.npy", "missing.png"]) is None
    assert Preprocess(size=32, resize=40).shrink_key() == "shrink 3, shorter side 40, 3 channels"
    assert "value_range" not in Preprocess(size=32, resize=40).model_dump()


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (np.array([[0, 255, 256, 65_535]], np.uint16), [0, 0, 1, 255]),  # its upper 8 bits
        (np.array([[0, 0.5, 1.0, 1.0]], np.float32), [0, 128, 255, 255]),
        (np.array([[0, 51, 102, 255]], np.float32), [0, 51, 102, 255]),
        (np.array([[np.nan, 0.2, 1.0, np.inf]], np.float32), [0, 51, 255, 255]),
    ],
)
def test_a_file_without_a_known_range_has_a_documented_answer(values: Values, answer: list[int]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.repeat(np.repeat(values, 8, 0), 8, 1))
    found = np.asarray(decode(buffer.getvalue(), "L"))
    assert found[0, ::8].tolist() == answer


ARRAYS = {
    "grey": (np.zeros((20, 30), np.uint8), (30, 20)),
    "one channel": (np.zeros((20, 30, 1), np.uint16), (30, 20)),
    "color": (np.zeros((20, 30, 3), np.uint8), (30, 20)),
    "channels first": (np.zeros((3, 20, 30), np.float32), (30, 20)),
    "one channel first": (np.zeros((1, 20, 30), np.int64), (30, 20)),
    "big endian": (np.zeros((20, 30), ">u2"), (30, 20)),
    "Fortran order": (np.asfortranarray(np.zeros((20, 30), np.uint8)), (30, 20)),
    "booleans": (np.ones((20, 30), bool), (30, 20)),
    "half": (np.ones((20, 30), np.float16), (30, 20)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_file_is_read(name: str, tmp_path: Path) -> None:
    array, size = ARRAYS[name]
    np.save(tmp_path / "a.npy", array)
    assert decode(tmp_path / "a.npy").size == size


def npy_header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def saved(array: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


REFUSED = {
    "channels": (saved(np.zeros((20, 30, 4), np.uint8)), "4 channels"),
    "dimensions": (saved(np.zeros((5, 20, 30, 3), np.uint8)), "4 dimensions"),
    "objects": (saved(np.array([[{}]], object), allow_pickle=True), "type object"),
    "complex": (saved(np.zeros((20, 30), complex)), "type complex128"),
    "text": (saved(np.array([["a"]])), "type <U1"),
    "empty": (saved(np.zeros((0, 30), np.uint8)), "empty"),
    "truncated": (saved(np.zeros((20, 30), np.uint8))[:-9], "truncated"),
    "too large": (npy_header("(100000, 100000)"), "pixels; the limit"),
    "too much memory": (npy_header("(15000, 15000)", "'<f8'"), "MiB; the limit"),
    "negative": (npy_header("(-5, 5)"), ""),
    "no header": (b"\x93NUMPY\1\0\xff\xff{", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_array_is_refused_with_the_reason(name: str) -> None:
    content, why = REFUSED[name]
    with pytest.raises(PhotosError) as caught:
        decode(content)
    assert why in str(caught.value)


def trained(tmp_path: Path, kind: str) -> tuple[reslab.Classifier, Path]:
    """Train on bright and dark photos of a kind; return the model and the folder of the photos."""
    suffix, convert = KINDS[kind]
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for i in range(count):
            for name, part in (("bright", 0.6), ("dark", 0.0)):
                values = convert(part + 0.4 * scene(100 * len(split) + i))
                write(tmp_path / "photos" / split / name / f"{i}{suffix}", values)
    layers = nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    network = nn.Sequential(*layers)
    recipe = reslab.Recipe(
        epochs=8, size=16, batch_size=8, precision="fp32", optimizer="adam", learning_rate=0.05
    )
    run = reslab.train(tmp_path / "photos", network, recipe, run=tmp_path / "run", progress=False)
    return reslab.load(run.folder, network=network), tmp_path / "photos"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["12 bits in 16-bit PNG", "float TIFF", "int32 CT"])
def test_a_training_keeps_the_range_and_one_hot_pixel_changes_no_label(kind: str, tmp_path: Path) -> None:
    classifier, photos = trained(tmp_path, kind)
    found = find_data_range(photos, [str(p.relative_to(photos)) for p in (photos / "train").rglob("*.*")])
    assert found is not None
    assert classifier.preprocess.value_range == (found.low, found.high)
    for path in sorted((photos / "test").rglob("*.*")):
        values = np.asarray(Image.open(path)).copy()
        before = classifier.predict(path)
        values[5, 5] = largest(values.dtype)
        after = classifier.predict(write(tmp_path / f"hot{path.suffix}", values))
        assert after.label == before.label
        assert after.probability == pytest.approx(before.probability, abs=0.05)
        batch = list(classifier.predict_all([path, path]))
        assert batch[0].probability == pytest.approx(before.probability, abs=1e-5)


def test_the_range_is_shown_and_a_mixture_of_units_is_a_warning(tmp_path: Path) -> None:
    paths = make_set(tmp_path, "12 bits in 16-bit PNG")
    found = find_data_range(tmp_path, paths, given=(0, 4080))
    assert str(found).startswith("12 photos are 16-bit, values 0 to 4,080; ")
    assert found is not None
    assert found.used_fraction == pytest.approx(0.062, abs=0.001)
    paths += make_set(tmp_path, "float TIFF", 3)
    assert str(find_data_range(tmp_path, paths)).startswith("WARNING: photos of different units")
    assert isinstance(found, DataRange)


def test_photos_that_do_not_fit_the_training_are_told(tmp_path: Path) -> None:
    paths = [str(tmp_path / path) for path in make_set(tmp_path, "16-bit PNG")]
    assert "the model was trained on 8-bit photos" in note_on_values(paths, None)
    assert "outside the range of the training, 0 to 4,080" in note_on_values(paths, (0, 4080))
    assert note_on_values(paths, (0, 65_535)) == ""
    assert note_on_values([str(tmp_path / "a.jpg")], None) == ""


@pytest.mark.parametrize(
    "value_range", [(1, 1), (2, 1), (0, float("nan")), (0, 1e31), (0, 1, 2), (0, 1e-320)]
)
def test_an_impossible_range_is_refused(value_range: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="value_range"):
        Preprocess(size=8, resize=8, value_range=value_range)
    with pytest.raises(reslab.RecipeError):
        reslab.Recipe(value_range=value_range)


def test_check_finds_the_part_of_the_range_and_does_not_call_ct_values_blank(tmp_path: Path) -> None:
    for kind, wanted in (("12 bits in 16-bit PNG", ["part of its range"]), ("int32 CT", [])):
        folder = tmp_path / kind
        for name, start in (("a", 0), ("b", 100)):
            suffix, convert = KINDS[kind]
            for i in range(8):
                write(folder / "train" / name / f"{i}{suffix}", convert(scene(start + i)))
        checked = reslab.check(folder, progress=False)
        kinds = [finding.kind for finding in checked.findings]
        assert [kind for kind in kinds if kind in ("part of its range", "blank")] == wanted
    narrow = np.full((48, 48), 1000, np.int32)
    narrow[:, ::2] = 1010
    write(folder / "train" / "a" / "narrow.tif", narrow)
    write(folder / "train" / "a" / "empty.tif", np.full((48, 48), 1000, np.int32))
    found = {f.path: (f.kind, f.why) for f in reslab.check(folder, progress=False).findings}
    assert found["train/a/narrow.tif"][0] == "part of its range"
    assert "1,000 to 1,010" in found["train/a/narrow.tif"][1]
    assert found["train/a/empty.tif"][0] == "blank"
