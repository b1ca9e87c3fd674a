"""Loading tensors into a network: loaded, adapted, renamed, missing, and the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import conv2d

import reslab
from reslab.errors import WeightsError
from reslab.networks.input_channels import adapt_input_channels, first_convolution, input_channels
from reslab.networks.resnet import ResNet
from reslab.networks.weights.load import load_into

Tensors = dict[str, Tensor]


def small(block: Any = reslab.BasicBlock, **settings: Any) -> ResNet:
    """Return a network of two stages whose batch norms are not at their initial values."""
    network = ResNet(block, (1, 1), (8, 16), stem_channels=8, **{"num_classes": 3, **settings})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            module.running_mean = torch.randn(module.num_features)
    return network


def weights(network: nn.Module) -> Tensors:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_a_complete_file_is_loaded_completely() -> None:
    source, target = small(), small()
    report = load_into(target, weights(source), "source.pth")
    assert report.complete
    assert report.loaded == tuple(source.state_dict())
    assert str(report) == "source.pth: 38 of 38 tensors loaded"
    assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


def test_tensors_are_copied_and_the_callers_are_unchanged() -> None:
    source, target = small(num_classes=3, in_channels=3), small(in_channels=1)
    tensors = weights(source)
    tensors["linear.weight"], tensors["linear.bias"] = tensors.pop("fc.weight"), tensors.pop("fc.bias")
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    load_into(target, tensors)
    for parameter in target.parameters():
        assert parameter.requires_grad
        nn.init.zeros_(parameter)
    assert list(tensors) == list(before)
    assert all(map(torch.equal, tensors.values(), before.values()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_other_dtypes_are_loaded_into_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    source, target = small(), small(in_channels=1)
    content = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights(source).items()}
    torch.save(content, tmp_path / "w.pth")
    report = reslab.load_pretrained(target, "small", tmp_path / "w.pth")
    assert report.complete
    assert {t.dtype for t in target.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(target.fc.weight, source.fc.weight.to(dtype).float())
    # summed in fp32, not in the format of the file
    assert torch.equal(target.conv1.weight, source.conv1.weight.to(dtype).float().sum(1, keepdim=True))


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "backbone.", "_orig_mod.module.", "student.encoder."]
)
def test_prefixes_are_removed_and_reported(prefix: str) -> None:
    source, target = small(), small()
    tensors = {prefix + name: tensor for name, tensor in weights(source).items()}
    tensors["criterion.weight"] = torch.ones(3)
    report = load_into(target, tensors)
    assert report.complete
    assert report.prefix == prefix
    assert f"removed '{prefix}' from the start of the names in the file" in str(report)
    assert report.unused == ("criterion.weight",)
    assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


def test_a_prefix_that_the_network_has_too_is_kept() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = small()

    source, target = Mine(), Mine()
    report = load_into(target, weights(source))
    assert report.complete
    assert report.prefix == ""
    assert all(map(torch.equal, target.state_dict().values(), source.state_dict().values()))


def test_a_head_outside_the_prefix_is_found() -> None:
    source, target = small(), small()
    tensors = {f"backbone.{k}": v for k, v in weights(source).items() if not k.startswith("fc.")}
    tensors |= {"head.weight": source.fc.weight.detach(), "head.bias": source.fc.bias.detach()}
    report = load_into(target, tensors)
    assert report.complete
    assert report.renamed == (("fc.weight", "head.weight"), ("fc.bias", "head.bias"))


@pytest.mark.parametrize("name", ["linear", "classifier", "head", "last_linear", "head.fc"])
@pytest.mark.parametrize("order", [list, sorted, lambda names: sorted(names, reverse=True)])
def test_a_head_of_another_name_is_matched_and_reported(name: str, order: Callable[..., list[str]]) -> None:
    source, target = small(), small()
    tensors = {k.replace("fc.", f"{name}.", 1): v for k, v in weights(source).items()}
    tensors["projector.weight"] = torch.randn(16, 16)  # a matrix of another shape
    report = load_into(target, {k: tensors[k] for k in order(tensors)})
    assert report.complete
    assert report.renamed == (("fc.weight", f"{name}.weight"), ("fc.bias", f"{name}.bias"))
    assert f"'{name}.weight' in the file was loaded as 'fc.weight' (same place, same shape)" in str(report)
    assert f"loaded from {name}.weight" in report.table()
    assert torch.equal(target.fc.weight, source.fc.weight)
    assert torch.equal(target.fc.bias, source.fc.bias)


def test_a_head_of_another_name_and_shape_is_not_loaded_nor_is_its_bias() -> None:
    target = small(num_classes=3)
    fresh = target.fc.weight.clone(), target.fc.bias.clone()
    tensors = {k: v for k, v in weights(small()).items() if not k.startswith("fc.")}
    tensors |= {"linear.weight": torch.randn(3, 99), "linear.bias": torch.randn(3)}
    report = load_into(target, tensors)
    assert report.missing == ("fc.weight", "fc.bias")
    assert report.renamed == ()
    assert report.unused == ("linear.weight", "linear.bias")
    assert torch.equal(target.fc.weight, fresh[0])
    assert torch.equal(target.fc.bias, fresh[1])


def test_one_channel_gives_the_outputs_of_three_equal_channels() -> None:
    color, gray = small(in_channels=3).eval(), small(in_channels=1).eval()
    report = load_into(gray, weights(color))
    assert report.adapted == ("conv1.weight",)
    assert report.complete
    assert "adapted to the number of input channels: conv1.weight" in str(report)
    photo = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(gray(photo), color(photo.expand(-1, 3, -1, -1)))


@given(channels=st.sampled_from([1, 3, 4]), in_channels=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_input_channels_are_summed_for_one_and_otherwise_repeated_and_scaled(
    channels: int, in_channels: int
) -> None:
    weight = torch.randn(5, channels, 3, 3)
    adapted = adapt_input_channels(weight, in_channels)
    assert adapted.shape == (5, in_channels, 3, 3)
    if in_channels == 1:
        torch.testing.assert_close(adapted[:, 0], weight.sum(1))
    else:
        for i in range(in_channels):
            torch.testing.assert_close(adapted[:, i], weight[:, i % channels] * channels / in_channels)
    if in_channels % channels == 0 or in_channels == 1:  # equal channels excite as before
        photo = torch.randn(1, 1, 8, 8)
        before = conv2d(photo.expand(-1, channels, -1, -1), weight)
        after = conv2d(photo.expand(-1, in_channels, -1, -1), adapted)
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_a_first_layer_with_another_kernel_size_is_not_adapted() -> None:
    target = small(in_channels=1, stem="small")
    fresh = target.conv1.weight.clone()
    report = load_into(target, weights(small()))
    assert report.adapted == ()
    assert torch.equal(target.conv1.weight, fresh)
    assert report.other_shape == (("conv1.weight", (8, 3, 7, 7), (8, 1, 3, 3)),)
    assert "conv1.weight, file (8, 3, 7, 7), network (8, 1, 3, 3)" in str(report)


def test_the_partial_file_loads_everything_but_layer4(partial_weights: Path) -> None:
    content = torch.load(partial_weights, weights_only=True)
    network = reslab.resnet18()
    before = weights(network)
    report = reslab.load_pretrained(network, "resnet18", partial_weights)
    assert set(report.loaded) == set(content)
    assert len(content) == 92
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name] if name.startswith("layer4") else content[name]), name
    assert set(report.missing) == {name for name in before if name.startswith("layer4")}
    assert str(report) == (
        f"{partial_weights}: 92 of 122 tensors loaded\n"
        "  not in the file, left as initialized: layer4 (30 tensors)"
    )


def test_the_partial_file_for_gray_photos_of_two_classes(partial_weights: Path) -> None:
    network = reslab.resnet18(num_classes=2, in_channels=1)
    report = reslab.load_pretrained(network, "resnet18", partial_weights)
    assert str(report) == (
        f"{partial_weights}: 90 of 122 tensors loaded\n"
        "  adapted to the number of input channels: conv1.weight\n"
        "  not in the file, left as initialized: layer4 (30 tensors)\n"
        "  another shape, left as initialized: fc.weight, file (1000, 512), network (2, 512)\n"
        "  another shape, left as initialized: fc.bias, file (1000,), network (2,)"
    )
    rows = dict(line.split(maxsplit=1) for line in report.table().splitlines())
    assert len(rows) == 122
    assert set(rows) == set(network.state_dict())
    assert rows["conv1.weight"] == "adapted"
    assert rows["layer3.1.bn2.running_var"] == "loaded"
    assert rows["layer4.0.conv1.weight"] == "missing: left as initialized"
    assert rows["fc.bias"] == "other shape: file (1000,), network (2,); left as initialized"


def test_pretrained_weights_give_torchvisions_outputs(partial_weights: Path) -> None:
    ours, theirs = reslab.resnet18(), torchvision.models.resnet18()
    theirs.load_state_dict(ours.state_dict())
    for network in (ours, theirs):
        reslab.load_pretrained(network, "resnet18", partial_weights)
    photo = torch.randn(1, 3, 96, 96)
    assert torch.equal(ours.eval()(photo), theirs.eval()(photo))


def test_many_tensors_of_other_shapes_are_counted_by_stage_and_listed_in_the_table(
    partial_weights: Path,
) -> None:
    report = reslab.load_pretrained(reslab.resnet50(), "resnet18", partial_weights, partial=True)
    assert "another shape, left as initialized: layer1 (2 tensors), layer2 (7 tensors)" in str(report)
    assert len(str(report).splitlines()) == 3
    assert "other shape: file (1000, 512), network (1000, 2048)" in report.table()


def test_an_old_file_without_batch_counters_is_complete() -> None:
    source, target = small(), small()
    tensors = {k: v for k, v in weights(source).items() if not k.endswith("num_batches_tracked")}
    report = load_into(target, tensors)
    assert report.complete
    assert str(report) == f"weights: {len(tensors)} of {len(tensors)} tensors loaded"


def test_an_unused_second_head_is_reported() -> None:
    tensors = weights(small()) | {"aux.fc.weight": torch.randn(3, 5), "aux.fc.bias": torch.randn(3)}
    report = load_into(small(), tensors)
    assert report.complete
    assert report.unused == ("aux.fc.weight", "aux.fc.bias")
    assert "in the file, but not used: aux (2 tensors)" in str(report)
    assert report.table().splitlines()[-1].split() == ["aux.fc.bias", "unused"]


def test_a_file_for_another_network_is_refused_and_both_are_shown(tmp_path: Path, refuses: Any) -> None:
    network = small()
    before = weights(network)
    path = tmp_path / "other.pth"
    torch.save(nn.Sequential(nn.Linear(7, 7), nn.Linear(7, 2), nn.BatchNorm1d(16)).state_dict(), path)
    with refuses(
        WeightsError, f"nothing in {path} fits", "0.weight (7, 7)", "conv1.weight (8, 3, 7, 7)", "more"
    ):
        reslab.load_pretrained(network, "small", path)
    assert all(map(torch.equal, network.state_dict().values(), before.values()))


def test_a_file_whose_batch_norms_alone_fit_is_refused(refuses: Any) -> None:
    with refuses(WeightsError, "fits this network"):
        load_into(small(), {"bn1.weight": torch.ones(8), "bn1.bias": torch.ones(8)})


@given(kept=st.sets(st.sampled_from(sorted(small().state_dict()))), odd=st.sets(st.integers(0, 37)))
@settings(max_examples=60, deadline=None)
def test_every_tensor_of_network_and_file_is_reported_once(kept: set[str], odd: set[int]) -> None:
    source, target = small(), small()
    tensors = {name: tensor for name, tensor in weights(source).items() if name in kept | {"fc.weight"}}
    for i, name in enumerate(source.state_dict()):
        if i in odd and name in tensors and name != "fc.weight":
            tensors[name] = torch.zeros(2, 2, 2)
    tensors["extra"] = torch.zeros(1)
    before = weights(target)
    report = load_into(target, tensors, partial=True)
    others = [name for name, _, _ in report.other_shape]
    counters = {n for n in before if n.endswith("num_batches_tracked")}
    named = [*report.loaded, *report.missing, *others]
    assert len(named) == len(set(named))
    assert set(before) - counters <= set(named) <= set(before)
    assert report.unused == ("extra",)
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, tensors[name] if name in report.loaded else before[name]), name


@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_a_first_layer_without_channels_is_not_adapted(in_channels: int) -> None:
    target = small(in_channels=in_channels)
    fresh = target.conv1.weight.clone()
    report = load_into(target, weights(small()) | {"conv1.weight": torch.empty(8, 0, 7, 7)})
    assert report.adapted == ()
    assert report.other_shape == (("conv1.weight", (8, 0, 7, 7), (8, in_channels, 7, 7)),)
    assert torch.equal(target.conv1.weight, fresh)


def test_control_characters_in_names_of_a_file_are_escaped(tmp_path: Path) -> None:
    moves = "\x1b]0;owned\x07\x1b[2J"
    path = tmp_path / f"{moves}.safetensors"
    tensors = {k.replace("fc.", f"{moves}head.", 1): v for k, v in weights(small()).items()}
    save_file({f"{moves}.{k}": v for k, v in tensors.items()} | {f"{moves}\nx": torch.ones(1)}, path)
    report = reslab.load_pretrained(small(), "small", path)
    assert report.complete
    assert (report.prefix, report.unused) == (f"{moves}.", (f"{moves}\nx",))
    shown = r"\x1b]0;owned\x07\x1b[2J"
    assert f"removed '{shown}.' from" in str(report)
    assert f"'{shown}head.weight' in the file was loaded as 'fc.weight'" in str(report)
    assert f"not used: {shown}\\nx (1 tensor)" in str(report)
    assert f"loaded from {shown}head.bias" in report.table()
    for text in (str(report), report.table()):
        assert all(line.isprintable() for line in text.split("\n"))


def test_the_first_convolution_is_found_by_order_of_modules() -> None:
    network = nn.Sequential(nn.Identity(), small(in_channels=5))
    assert first_convolution(network) == ("1.conv1", network[1].conv1)
    assert input_channels(network) == 5
    assert first_convolution(nn.Linear(2, 2)) is None
    assert (input_channels(nn.Linear(2, 2)), input_channels(nn.Linear(2, 2), default=1)) == (3, 1)
