"""Model files: everything is restored exactly, nothing is executed, and damage is refused."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from materials import without_permission
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reslab import files
from reslab.errors import ClassifierError, CodeNeededError, UsageError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.model_file import VERSION, checksum, read_model
from reslab.networks.registry import NetworkSpec, make_spec
from reslab.networks.user_code import UserCode, digest_of
from reslab.photos.loading.preprocess import Preprocess

FIGURES = {"epoch": 3, "val_accuracy": 0.1 + 0.2, "test_interval": [0.5, 0.75], "note": "夜 \n"}


def classifier(seed: int = 0) -> Classifier:
    """A classifier with no field at its default."""
    torch.manual_seed(seed)
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    network = spec.build()
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.copy_(torch.rand(buffer.shape) * 100)
    preprocess = Preprocess(size=32, resize=36, mean=(0.1, 0.2, 0.3), std=(0.9, 0.8, 0.7), color_jitter=0.25)
    return Classifier(
        network,
        ("狗", "b\udce4r\n"),
        preprocess,
        spec,
        1.7000000000000002,
        FIGURES,
        "CC BY 4.0",
        reject_below=0.1 + 0.7,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    classifier().save(path)
    return path


def fields(value: Classifier) -> list[Any]:
    return [
        value.classes,
        value.preprocess,
        value.spec,
        value.temperature,
        dict(value.figures),
        value.licence,
        value.reject_below,
    ]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def content_of(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["reslab"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def forge(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a model file with a valid checksum."""
    save_file(tensors, path, {"reslab": json.dumps(header | {"checksum": checksum(tensors, header)})})


def test_load_restores_every_field_and_weight(model: Path) -> None:
    saved, loaded = classifier(), Classifier.load(model, device="cpu")
    assert fields(loaded) == fields(saved)
    assert same_weights(loaded.network, saved.network)
    assert not any(part.training for part in loaded.network.modules())


def test_a_file_from_before_thresholds_has_none(model: Path) -> None:
    header, tensors = content_of(model)
    del header["reject_below"]
    forge(model, header, tensors)
    assert Classifier.load(model, device="cpu").reject_below == 0


def test_saving_again_gives_the_same_file(model: Path, tmp_path: Path) -> None:
    Classifier.load(model, device="cpu").save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == model.read_bytes()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept_and_memory_layouts_do_not_matter(kind: torch.dtype, tmp_path: Path) -> None:
    saved = classifier()
    saved.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    saved.network.to(kind)
    saved.save(tmp_path / "model")
    fresh = NetworkSpec("cifar_resnet20", 2, 3).build().to(kind)
    assert same_weights(
        Classifier.load(tmp_path / "model", network=fresh, device="cpu").network, saved.network
    )


def test_the_header_is_json_that_safetensors_can_read(model: Path) -> None:
    header, tensors = content_of(model)
    assert header["version"] == VERSION
    assert header["network"] == {
        "name": "cifar_resnet20",
        "num_classes": 2,
        "in_channels": 3,
        "stem": None,
        "width_mult": 1.0,
        "code": None,
    }
    assert header["classes"] == ["狗", "b\udce4r\n"]
    assert header["preprocess"]["mean"] == [0.1, 0.2, 0.3]
    assert (header["temperature"], header["figures"]) == (1.7000000000000002, FIGURES)
    assert header["licence"] == "CC BY 4.0"
    assert set(tensors) == set(classifier().network.state_dict())
    assert read_model(model).header.classes == classifier().classes


def test_a_run_folder_loads_its_best_model(model: Path) -> None:
    assert fields(Classifier.load(model.parent, device="cpu")) == fields(classifier())


def test_save_and_load_expand_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    classifier().save("~/own.safetensors")
    assert (tmp_path / "own.safetensors").is_file()
    assert fields(Classifier.load("~/own.safetensors", device="cpu")) == fields(classifier())


def test_unknown_header_fields_are_ignored(model: Path) -> None:
    header, tensors = content_of(model)
    forge(model, header | {"poem": ["roses"]}, tensors)
    assert fields(Classifier.load(model, device="cpu")) == fields(classifier())


def test_loading_keeps_the_random_state(model: Path) -> None:
    before = torch.get_rng_state()
    Classifier.load(model, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier(1).save(model)
    assert os.listdir(model.parent) == [model.name]
    before = model.read_bytes()
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:

            def full(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(files.os, step, full)
            with pytest.raises(OSError, match="No space"):
                classifier(2).save(model)
        assert os.listdir(model.parent) == [model.name]
        assert model.read_bytes() == before


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "classes swapped": lambda h: h["classes"].reverse(),
    "temperature": lambda h: h.update(temperature=1.0),
    "preprocessing": lambda h: h["preprocess"].update(resize=40),
    "figures": lambda h: h["figures"].update(val_accuracy=0.99),
    "licence": lambda h: h.update(licence="none"),
    "checksum": lambda h: h.update(checksum="0" * 32),
    "size of the network": lambda h: h["network"].update(num_classes=3),
    "version": lambda h: h.update(version=0),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edited_header_is_refused(edit: Callable[[dict[str, Any]], Any], model: Path) -> None:
    header, tensors = content_of(model)
    edit(header)
    save_file(tensors, model, {"reslab": json.dumps(header)})
    with pytest.raises(ClassifierError, match="was changed after it was written"):
        Classifier.load(model)


@pytest.mark.parametrize(
    "change",
    [lambda t: t.neg_(), lambda t: t.view(-1)[-1:].add_(1e-3), lambda t: t[[0, 1]].copy_(t[[1, 0]].clone())],
    ids=["all", "one number", "nothing lost"],
)
def test_changed_weights_are_refused(change: Callable[[Tensor], Tensor], model: Path) -> None:
    header, tensors = content_of(model)
    before = tensors["fc.weight"].clone()
    change(tensors["fc.weight"])
    if torch.equal(before, tensors["fc.weight"]):
        tensors["fc.weight"] = tensors["fc.weight"].flip(0).contiguous()
    save_file(tensors, model, {"reslab": json.dumps(header)})
    with pytest.raises(ClassifierError, match="checksum"):
        Classifier.load(model)


SOURCES = {"a.py": "B = dict"}
CODE = {"file": "a.py", "name": "B", "digest": digest_of("a.py", SOURCES), "sources": SOURCES}
CODED = {"name": "resnet18:a.py:B", "num_classes": 2, "in_channels": 3}


def test_the_code_of_a_header_is_read_and_never_run(model: Path, refuses: Any) -> None:
    header, tensors = content_of(model)
    forge(model, header | {"network": {**CODED, "code": CODE}}, tensors)
    assert read_model(model).header.network == NetworkSpec("resnet18:a.py:B", 2, 3, code=UserCode(**CODE))
    with refuses(CodeNeededError, "resnet18:a.py:B", f"reslab.load('{model}', network='resnet18:a.py:B')"):
        Classifier.load(model, device="cpu")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": VERSION + 1, "network": "of another format"}, r"later reslab(?s:.*)upgrade reslab"),
        ({"classes": ["a", "b", "c"]}, "3 classes for 2 logits"),
        ({"classes": []}, "header of .* is damaged"),
        ({"classes": [1, 2]}, "header of .* is damaged"),
        ({"classes": ["a", "a"]}, "two classes are called 'a'"),
        ({"temperature": 0}, "header of .* is damaged"),
        ({"preprocess": {"size": 0, "resize": 36}}, "header of .* is damaged"),
        ({"version": None}, "header of .* is damaged"),
        ({"network": {"name": "resnet1", "num_classes": 2, "in_channels": 3}}, "no network 'resnet1'"),
        ({"network": {"name": "os:system", "num_classes": 2, "in_channels": 3}}, "no network 'os:system'"),
        (
            {"network": {"name": "cifar_resnet20", "num_classes": 2, "in_channels": -3}},
            "-3 channels for photos of 3",
        ),
        ({"network": {**CODED, "code": {**CODE, "digest": "0"}}}, "not that of its sources"),
        ({"network": {**CODED, "code": {**CODE, "sources": {"a.py": 7}}}}, "header of .* is damaged"),
        ({"network": {**CODED, "code": {**CODE, "sources": {"a.py": "a" * 10**6}}}}, "more than 524,288"),
        ({"network": {**CODED, "code": ["a.py"]}}, "header of .* is damaged"),
        ({"network": {"name": "cifar_resnet32", "num_classes": 2, "in_channels": 3}}, "do not fit"),
    ],
)
def test_an_invalid_header_field_is_refused(change: dict[str, Any], says: str, model: Path) -> None:
    header, tensors = content_of(model)
    forge(model, header | change, tensors)
    with pytest.raises(ClassifierError, match=says):
        Classifier.load(model)


NUMBERS = (-1, 1e-320, 1e-40, 1e40, 1e308, float("nan"), float("inf"), 2**31, 2**63, 10**30)


@pytest.mark.parametrize(
    ("field", "refused"),
    [
        ("temperature", (*NUMBERS, 0, 0.001, 1000)),
        ("reject_below", (-1, 1e40, float("nan"), 1.5)),
        ("version", (-1, 1e40, 2**63)),
        ("preprocess size", (*NUMBERS, 0, 2049, 4096)),
        ("preprocess resize", (*NUMBERS, 0, 31, 4097)),
        ("preprocess channels", (*NUMBERS, 0, 1, 2, 4)),
        ("preprocess mean", (1e40, 1e308, float("nan"), 2**31, -101)),
        ("preprocess std", (*NUMBERS, 0, 1e-5, 101)),
        ("preprocess min_crop_area", (-1, 0, 1.5, 1e40, float("nan"))),
        ("preprocess color_jitter", (-1, 1.5, 1e40, float("nan"))),
        ("network num_classes", (*NUMBERS, 0, 1, 3)),
        ("network in_channels", (*NUMBERS, 0, 1, 4)),
        ("network width_mult", (*NUMBERS, 0, 2)),
    ],
)
def test_numbers_of_a_header_have_bounds_and_fit_each_other(
    field: str, refused: tuple[float, ...], model: Path
) -> None:
    header, tensors = content_of(model)
    part, _, name = field.rpartition(" ")
    for number in refused:
        changed = json.loads(json.dumps(header))
        value = [0.5, number, 0.5] if name in ("mean", "std") else number
        (changed[part] if part else changed)[name] = value
        forge(model, changed, tensors)
        with pytest.raises(ClassifierError, match=r"header of .* is damaged|do not fit|later reslab"):
            Classifier.load(model, device="cpu")


@pytest.mark.parametrize("temperature", [0.0, 1e-40, float("nan"), 1e40])
def test_a_temperature_that_a_file_cannot_have_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="a temperature of"):
        replace(classifier(), temperature=temperature)


def test_one_channel_for_a_network_of_three_is_refused(tmp_path: Path, refuses: Any) -> None:
    made = classifier()
    grey = Preprocess(size=32, resize=36, channels=1, mean=(0.5,), std=(0.2,))
    replace(made, spec=None, preprocess=grey).save(tmp_path / "model")  # a network of one's own
    loaded = Classifier.load(tmp_path / "model", network=made.network, device="cpu")
    with refuses(ClassifierError, "does not take images of shape (1, 32, 32)", "preprocessing"):
        loaded.predict(Image.new("L", (40, 40)))
    code = tmp_path / "net.py"
    code.write_text(
        "from torch import nn\n"
        "def build(num_classes):\n"
        "    layers = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)\n"
        "    return nn.Sequential(*layers)\n"
    )
    spec = replace(make_spec(f"{code}:build", 2), in_channels=1)  # which the function does not ask for
    replace(made, network=spec.build(), spec=spec, preprocess=grey).save(tmp_path / "model")
    with refuses(ClassifierError, "photos of 1 channels for a network that takes 3"):
        Classifier.load(tmp_path / "model", network=f"{code}:build", device="cpu")


def test_logits_that_overflow_are_refused(model: Path, refuses: Any) -> None:
    header, tensors = content_of(model)
    tensors["fc.bias"] = torch.tensor([3e38, -3e38])
    forge(model, header | {"temperature": 0.01}, tensors)
    with refuses(ClassifierError, "logits that are not finite"):
        Classifier.load(model, device="cpu").predict(Image.new("RGB", (40, 40)))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "[" * 100_000, '{"version": 1}', "NaN"])
def test_an_invalid_header_is_refused(text: str, model: Path) -> None:
    save_file(content_of(model)[1], model, {"reslab": text})
    with pytest.raises(ClassifierError, match="header of .* is damaged"):
        Classifier.load(model)


@pytest.mark.parametrize("kind", ["shape", "missing", "extra"])
def test_weights_of_another_network_are_refused(kind: str, model: Path) -> None:
    header, tensors = content_of(model)
    if kind == "shape":
        tensors["fc.weight"] = torch.zeros(3, 64)
    elif kind == "missing":
        del tensors["fc.weight"]
    else:
        tensors["fc.more"] = torch.zeros(1)
    forge(model, header, tensors)
    with pytest.raises(ClassifierError, match=r"(?s)do not fit.*fc\."):
        Classifier.load(model)


def test_weights_that_do_not_fit_are_named_in_the_order_of_the_network(model: Path) -> None:
    header, tensors = content_of(model)
    for name in ("fc.bias", "layer3.2.conv2.weight", "layer1.0.conv1.weight", "conv1.weight"):
        tensors[name] = torch.zeros(1)
    forge(model, header, tensors)
    with pytest.raises(ClassifierError) as caught:
        Classifier.load(model)
    named = [problem.partition(":")[0] for problem in caught.value.why.split("; ")]
    assert named == ["conv1.weight", "layer1.0.conv1.weight", "layer3.2.conv2.weight", "and 1 more"]


def test_a_file_cut_short_anywhere_is_refused(model: Path) -> None:
    content = model.read_bytes()
    for part in range(16):
        model.write_bytes(content[: len(content) * part // 16])
        with pytest.raises(ClassifierError, match="is not a model file"):
            Classifier.load(model)
    model.write_bytes(content + b"\0")
    with pytest.raises(ClassifierError):
        Classifier.load(model)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["length", "header", "weights"])
def test_a_changed_byte_is_refused_or_has_no_effect(where: str, model: Path) -> None:
    content, saved = model.read_bytes(), classifier()
    (length,) = struct.unpack("<Q", content[:8])
    low, high = {"length": (0, 8), "header": (8, 8 + length), "weights": (8 + length, len(content))}[where]
    generator = np.random.default_rng(7)
    refused = 0
    for _ in range({"length": 40, "header": 400, "weights": 60}[where]):
        damaged = bytearray(content)
        damaged[generator.integers(low, high)] = generator.integers(256)
        model.write_bytes(damaged)
        try:
            loaded = Classifier.load(model, device="cpu")
        except ClassifierError:
            refused += 1
        else:
            assert fields(loaded) == fields(saved)
            assert same_weights(loaded.network, saved.network)
    assert refused


class Trap:
    """Creates a folder when its pickle is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return os.mkdir, ("sprung",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, "model.pth")
    Path("model.safetensors").write_bytes(pickle.dumps(Trap()))
    for path in ("model.pth", "model.safetensors"):
        with pytest.raises(ClassifierError, match="is not a model file"):
            Classifier.load(path)
    assert not Path("sprung").exists()


def test_weights_without_a_header_are_refused(model: Path) -> None:
    save_file(content_of(model)[1], model)
    with pytest.raises(ClassifierError, match="no reslab header"):
        Classifier.load(model)


def test_a_missing_model_is_named_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match=r"there is no model .*nothing\.safetensors"):
        Classifier.load(tmp_path / "nothing.safetensors")
    with pytest.raises(ClassifierError, match="first epoch is not finished yet"):
        Classifier.load(tmp_path)


def test_a_model_without_read_permission_is_named_as_such(model: Path) -> None:
    with without_permission(model) as path, pytest.raises(ClassifierError) as caught:
        read_model(path)
    assert caught.value.what == f"{path} cannot be read"
    assert caught.value.why == "Permission denied"


class Own(nn.Module):
    """A network that is not part of reslab."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.head = nn.Linear(3, classes)
        self.stacked = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3))) + self.stacked


def test_a_network_of_the_users_own_must_be_given(tmp_path: Path) -> None:
    saved = Classifier(Own(), ("a", "b"), Preprocess(size=32, resize=36))
    saved.save(tmp_path / "own")
    with pytest.raises(ClassifierError, match=r"(?s)not part of reslab: Own.*network=Own\("):
        Classifier.load(tmp_path / "own")
    loaded = Classifier.load(tmp_path / "own", network=Own(), device="cpu")
    assert same_weights(loaded.network, saved.network)
    assert fields(loaded) == fields(saved)
    with pytest.raises(ClassifierError, match="do not fit"):
        Classifier.load(tmp_path / "own", network=Own(3))


def test_weights_shared_by_two_names_are_saved_under_both(tmp_path: Path) -> None:
    own = Own()
    own.register_module("same", own.head)
    Classifier(own, ("a", "b"), Preprocess(size=32, resize=36)).save(tmp_path / "own")
    assert torch.equal(content_of(tmp_path / "own")[1]["same.weight"], own.head.weight)


def test_a_changed_field_is_saved_with_the_same_weights(model: Path) -> None:
    replace(Classifier.load(model, device="cpu"), temperature=3.0).save(model)
    loaded = Classifier.load(model, device="cpu")
    assert loaded.temperature == 3.0
    assert same_weights(loaded.network, classifier().network)
