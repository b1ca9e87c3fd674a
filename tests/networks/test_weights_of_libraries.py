"""Weights of other networks and libraries: loaded into the right layers, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import reslab
from reslab.errors import WeightsError
from reslab.networks.attention_blocks import ECABlock, SEBlock
from reslab.networks.resnet import FAMILY, ResNet
from reslab.networks.weights.load import load_into

timm = pytest.importorskip("timm")


def without_memory(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def randomized(network: nn.Module) -> nn.Module:
    """Give the batch norms statistics and weights by which they differ from each other."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


CHANNELS = (64, 64, 96, 128)
PHOTOS = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def same_outputs(ours: nn.Module, theirs: nn.Module) -> None:
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(PHOTOS), theirs.eval()(PHOTOS), atol=1e-4, rtol=1e-4)


# fastai's learners are Sequential(body, head); transformers' modules are built here as its source has them


def small(num_classes: int = 2, block: Any = reslab.BasicBlock) -> ResNet:
    return ResNet(block, (1, 1, 2, 1), CHANNELS, num_classes=num_classes)


def learner(network: nn.Module, width: int) -> nn.Sequential:
    """Build what fastai's vision_learner makes of a network: layers by number, and a head of two."""
    first = (nn.BatchNorm1d(2 * width), nn.Dropout(0.25), nn.Linear(2 * width, 512, bias=False), nn.ReLU())
    second = (nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, 2, bias=False))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *first, *second)
    body = [layer for name, layer in network.named_children() if name not in ("avgpool", "flatten", "fc")]
    return nn.Sequential(nn.Sequential(*body), head)


def learner_of_torchvision(name: str) -> nn.Sequential:
    network = torchvision.models.get_model(name)
    return learner(network, network.fc.in_features)


class ConvLayer(nn.Module):
    """ResNetConvLayer of transformers."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, active: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU() if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.normalization(self.convolution(x)))


class Layer(nn.Module):
    """ResNetBasicLayer and ResNetBottleNeckLayer of transformers."""

    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        changes = inputs != outputs or stride != 1
        self.shortcut = ConvLayer(inputs, outputs, 1, stride, active=False) if changes else nn.Identity()
        narrow = outputs // 4
        self.layer = (
            nn.Sequential(
                ConvLayer(inputs, narrow, 1),
                ConvLayer(narrow, narrow, 3, stride),
                ConvLayer(narrow, outputs, 1, active=False),
            )
            if bottleneck
            else nn.Sequential(
                ConvLayer(inputs, outputs, 3, stride), ConvLayer(outputs, outputs, 3, active=False)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x) + self.shortcut(x))


class TransformersNetwork(nn.Module):
    """ResNetForImageClassification of transformers."""

    def __init__(self, sizes: tuple[int, ...], channels: tuple[int, ...], bottleneck: bool) -> None:
        super().__init__()
        self.resnet = nn.Module()
        self.resnet.embedder = nn.Module()
        self.resnet.embedder.embedder = ConvLayer(3, channels[0] // (4 if bottleneck else 1), 7, 2)
        self.resnet.encoder = nn.Module()
        self.resnet.encoder.stages = nn.ModuleList()
        inputs = channels[0] // (4 if bottleneck else 1)
        for size, outputs in zip(sizes, channels, strict=True):
            stage = nn.Module()
            stride = 1 if not len(self.resnet.encoder.stages) else 2
            layers = [
                Layer(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1, bottleneck)
                for i in range(size)
            ]
            stage.layers = nn.Sequential(*layers)
            self.resnet.encoder.stages.append(stage)
            inputs = outputs
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.resnet.embedder.embedder(x), 3, 2, 1)
        for stage in self.resnet.encoder.stages:
            x = stage.layers(x)
        return self.classifier(nn.functional.adaptive_avg_pool2d(x, 1))


@pytest.mark.parametrize("wrapped", ["", "module.", "model.model."])
def test_fastais_body_gives_the_same_features(wrapped: str) -> None:
    theirs = randomized(learner(small(), CHANNELS[-1]))
    ours = small()
    fresh = ours.fc.weight.clone()
    report = load_into(ours, {wrapped + name: tensor for name, tensor in theirs.state_dict().items()})
    same_outputs(ours[:-1], nn.Sequential(theirs[0], nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert torch.equal(ours.fc.weight, fresh)  # their head has two layers, so its last one is another
    assert report.missing == ("fc.weight", "fc.bias")
    assert {name.removeprefix(wrapped).partition(".")[0] for name in report.unused} == {"1"}
    assert (report.prefix, report.library) == (f"{wrapped}0.", "fastai")
    assert str(report).splitlines()[0] == "weights: 84 of 86 tensors loaded, 12 of the file's 96 not used"
    assert "84 tensors have names of fastai: '7.0.downsample.1.num_batches_tracked' is 'layer4.0.down" in str(
        report
    )
    assert "loaded from 4.0.conv1.weight" in report.table()


def test_torchvisions_layers_by_number_give_the_same_logits() -> None:
    theirs = randomized(small())
    layers = [
        layer for name, layer in theirs.named_children() if name != "flatten"
    ]  # as torchvision has them
    ours = small()
    assert load_into(ours, nn.Sequential(*layers).state_dict()).complete
    same_outputs(ours, theirs)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("wrapped", ["", "model."])
def test_transformers_names_give_the_same_logits(bottleneck: bool, wrapped: str) -> None:
    theirs = randomized(TransformersNetwork((2, 1, 2), (16, 32, 64), bottleneck))
    block = reslab.Bottleneck if bottleneck else reslab.BasicBlock
    stem = 4 if bottleneck else 16
    ours = ResNet(block, (2, 1, 2), (16, 32, 64), stem_channels=stem, num_classes=5)
    tensors = {wrapped + name: tensor for name, tensor in theirs.state_dict().items()}
    report = load_into(ours, tensors)
    assert report.complete
    assert not report.unused
    assert report.library == "transformers"
    same_outputs(ours, theirs)
    other = ResNet(block, (2, 1, 2), (16, 32, 64), stem_channels=stem, num_classes=3)
    shapes = [(name, theirs, ours) for name, theirs, ours in load_into(other, tensors).other_shape]
    assert shapes == [("fc.weight", (5, 64), (3, 64)), ("fc.bias", (5,), (3,))]


@pytest.mark.parametrize(
    ("attention", "block"),
    [(None, reslab.BasicBlock), ("se", SEBlock), ("eca", ECABlock)],
)
def test_timms_weights_give_the_same_logits(attention: str | None, block: Any) -> None:
    from timm.models.resnet import BasicBlock
    from timm.models.resnet import ResNet as TimmResNet

    attention_layers = {"attn_layer": attention} if attention else {}
    theirs = randomized(
        TimmResNet(BasicBlock, (1, 1, 2, 1), 2, channels=CHANNELS, block_args=attention_layers)
    )
    ours = small(block=block)
    report = load_into(ours, theirs.state_dict())
    assert report.complete
    assert not report.unused
    same_outputs(ours, theirs)


def test_a_projection_called_shortcut_is_loaded() -> None:
    theirs, ours = randomized(small()), small()
    tensors = {f"module.{k.replace('downsample', 'shortcut')}": v for k, v in theirs.state_dict().items()}
    assert load_into(ours, tensors).complete
    same_outputs(ours, theirs)


FAMILY_NETWORKS = {name: without_memory(lambda name=name: reslab.create_network(name)) for name in FAMILY}


@pytest.mark.parametrize("ours", FAMILY)
def test_of_the_family_only_the_same_network_is_loaded(ours: str, refuses: Any) -> None:
    network = FAMILY_NETWORKS[ours]
    for name, other in FAMILY_NETWORKS.items():
        if name == ours:
            report = load_into(network, other.state_dict())
            assert report.complete
            assert not report.unused
        else:
            with refuses(WeightsError, f"it looks like {name}: ", f"network: {name}"):
                load_into(network, other.state_dict())


# ours, theirs, and the answer: "" for whole, the likely network, or "?" where nothing fits
TIMM = [
    ("resnet18", "resnet18", ""),
    ("resnet34", "resnet34", ""),
    ("resnet50", "resnet50", ""),
    ("resnet101", "resnet101", ""),
    ("resnet18:se", "seresnet18", ""),
    ("resnet34:se", "seresnet34", ""),
    ("resnet18", "resnet34", "resnet34"),
    ("resnet18", "seresnet18", "resnet18:se"),
    ("resnet18", "resnet18d", "timm:resnet18d"),
    ("resnet18:resnetd", "resnet18d", "timm:resnet18d"),
    ("resnet18", "legacy_seresnet18", "timm:legacy_seresnet18"),
    ("resnet50", "resnet26", "timm:resnet26"),
    ("resnet50", "resnet50c", "timm:resnet50c"),
    ("resnet50", "resnet50d", "timm:resnet50d"),
    ("resnet50", "resnet50s", "timm:resnet50s"),
    ("resnet50", "resnet50_gn", "timm:resnet50_gn"),
    ("resnet50", "seresnet50", "timm:seresnet50"),
    ("resnet50", "ecaresnet50d", "timm:ecaresnet50d"),
    ("resnet50", "wide_resnet50_2", "torchvision:wide_resnet50_2"),
    ("resnet50", "resnext50_32x4d", "torchvision:resnext50_32x4d"),
    ("resnet50", "resnetv2_50", "?"),
    ("resnet50", "convnext_atto", "?"),
]
FASTAI = [
    ("resnet18", "resnet18", ""),
    ("resnet34", "resnet34", ""),
    ("resnet50", "resnet50", ""),
    ("resnet18", "resnet34", "resnet34"),
    ("resnet34", "resnet18", "resnet18"),
    ("resnet50", "resnet18", "resnet18"),
    ("resnet101", "resnet50", "resnet50"),
    ("resnet50", "wide_resnet50_2", "torchvision:wide_resnet50_2"),
    ("cifar_resnet20", "resnet18", "resnet18"),
]


@pytest.mark.parametrize(
    ("library", "ours", "theirs", "likely"),
    [("timm", *row) for row in TIMM] + [("fastai", *row) for row in FASTAI],
)
def test_weights_of_libraries_are_loaded_whole_in_part_or_refused(
    library: str, ours: str, theirs: str, likely: str, refuses: Any
) -> None:
    build = timm.create_model if library == "timm" else learner_of_torchvision
    tensors = without_memory(lambda: build(theirs)).state_dict()
    network = FAMILY_NETWORKS.get(ours) or without_memory(lambda: reslab.create_network(ours))
    if not likely:
        report = load_into(network, tensors)
        assert set(report.missing) <= {"fc.weight", "fc.bias"}
        assert report.complete == (library == "timm")
        return
    if likely == "?" or ours == "cifar_resnet20":
        for partial in (False, True):
            with refuses(WeightsError, "nothing in F fits this network"):
                load_into(network, tensors, "F", partial=partial)
        return
    with refuses(WeightsError, "F is from another network", f"looks like {likely}: ", "train --partial"):
        load_into(network, tensors, "F")
    report = load_into(network, tensors, "F", partial=True)
    assert report.loaded
    assert not report.complete or report.unused
    if report.unused:
        counts = f"{len(report.unused)} of the file's {len(tensors)} not used"
        assert str(report).splitlines()[0].endswith(f"tensors loaded, {counts}")


def test_a_prefix_counts_only_if_it_is_the_same_for_all(refuses: Any) -> None:
    fastai = without_memory(lambda: learner_of_torchvision("resnet18")).state_dict()
    hidden = {name.replace("0.0.", "0.stem.", 1): tensor for name, tensor in fastai.items()}
    del hidden["0.4.0.conv1.weight"]  # so that the names are not recognized
    for partial in (False, True):
        with refuses(WeightsError, "nothing in F fits"):
            load_into(FAMILY_NETWORKS["resnet18"], hidden, "F", partial=partial)


def test_a_part_inside_another_network_keeps_its_prefix() -> None:
    inner = FAMILY_NETWORKS["resnet18"].state_dict()
    detector = {f"backbone.body.{name}": tensor for name, tensor in inner.items() if "fc." not in name}
    neck = {f"{part}.{name}": inner[name] for part in ("neck", "rpn") for name in ("bn1.weight", "bn1.bias")}
    report = load_into(FAMILY_NETWORKS["resnet18"], detector | neck)
    assert (report.prefix, len(report.loaded)) == ("backbone.body.", 120)
    assert set(report.unused) == set(neck)


def test_a_network_that_is_in_the_file_twice_is_chosen_by_name(tmp_path: Path, refuses: Any) -> None:
    query, key = randomized(small()), randomized(small())
    tensors = {
        f"module.{name}.{k}": v
        for name, net in (("q", query), ("k", key))
        for k, v in net.state_dict().items()
    }
    path = tmp_path / "moco.pth"
    torch.save({"state_dict": tensors, "epoch": 3}, path)
    ours = small()
    with refuses(
        WeightsError, f"{path} holds the network 2 times", "module.q., module.k.", f"{path}#module.q"
    ):
        reslab.load_pretrained(ours, "resnet18", path)
    report = reslab.load_pretrained(ours, "resnet18", f"{path}#module.k")
    assert report.complete
    assert report.source == f"{path}#module.k"
    same_outputs(ours, key)


def test_a_head_of_several_layers_is_not_taken_for_one() -> None:
    tensors = dict(FAMILY_NETWORKS["resnet18"].state_dict())
    weight, bias = tensors.pop("fc.weight"), tensors.pop("fc.bias")
    tensors |= {"fc.0.weight": torch.empty(512, 512, device="meta"), "fc.2.weight": weight, "fc.2.bias": bias}
    report = load_into(FAMILY_NETWORKS["resnet18"], tensors)
    assert report.missing == ("fc.weight", "fc.bias")
    assert report.unused == ("fc.0.weight", "fc.2.weight", "fc.2.bias")


def test_parts_of_the_network_are_loaded_whole_or_left_as_they_are() -> None:
    whole = FAMILY_NETWORKS["resnet18"].state_dict()
    network = FAMILY_NETWORKS["resnet18"]
    without_stem = {name: tensor for name, tensor in whole.items() if not name.startswith("conv1")}
    assert load_into(network, without_stem).missing == ("conv1.weight",)
    first_half = {
        name: t for name, t in whole.items() if name.startswith(("conv1", "bn1", "layer1", "layer2"))
    }
    with pytest.raises(WeightsError, match="most of the network would stay as initialized"):
        load_into(network, {n: t for n, t in first_half.items() if "layer2" not in n})
    decoder = {f"decoder.{i}.weight": torch.empty(3, device="meta") for i in range(200)}
    with pytest.raises(WeightsError, match="most of the file would be unused"):
        load_into(network, whole | decoder)
    assert load_into(network, whole | decoder, partial=True).complete
