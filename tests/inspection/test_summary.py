"""Figures of an anatomy, checked against torchinfo, torch's own counters and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchinfo
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import reslab
from reslab.errors import NetworkError, ReslabError
from reslab.networks.from_text import network_from_text
from reslab.networks.resnet import FAMILY

KINDS = ["resnet18", "resnet50", "cifar_resnet20", "textbook_resnet18"]
OTHERS = ["vgg11_bn", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "googlenet", "regnet_y_400mf"]
OTHERS += ["shufflenet_v2_x0_5", "vit_b_32", "inception_v3", "squeezenet1_1"]


def flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    with FlopCounterMode(display=False) as counter:
        network.to("meta").eval()(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", KINDS)
def test_each_layer_agrees_with_torchinfo(name: str) -> None:
    network, side = reslab.create_resnet(name), 64
    taken = reslab.anatomy(network, (1, FAMILY[name].in_channels, side, side))
    info = torchinfo.summary(
        network, input_size=(1, FAMILY[name].in_channels, side, side), verbose=0, device="cpu"
    )
    theirs = [layer for layer in info.summary_list if not layer.children and layer.is_leaf_layer]
    ours = [layer for layer in taken.layers if layer.kind != "add"]
    assert [layer.kind for layer in ours] == [layer.class_name for layer in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine.output or ()) == list(other.output_size)[1:]
        assert mine.parameters == other.num_params
        # torchinfo counts a bias, which is only added, as a multiply-add at each position, and the
        # parameters of a batch norm once for the whole image
        module = network.get_submodule(mine.name)
        bias = module.bias is not None if isinstance(module, nn.Conv2d | nn.Linear) else False
        extra = torch.Size(mine.output or ()).numel() if bias else 0
        extra = mine.parameters if mine.kind == "BatchNorm2d" else extra
        assert (mine.multiply_adds or 0) + extra == other.macs, mine.name
    assert taken.parameters == info.total_params
    assert taken.complete


@pytest.mark.slow
@pytest.mark.parametrize("name", [*KINDS, *(f"torchvision:{name}" for name in OTHERS)])
def test_totals_agree_with_torchs_own_counters(name: str) -> None:
    named = network_from_text(name, meta=True)
    taken = reslab.anatomy(named.network, named.input_shape)
    parameters = sum(p.numel() for p in named.network.parameters())
    assert taken.parameters == parameters == sum(layer.parameters for layer in taken.layers)
    assert 2 * taken.multiply_adds == flops(named.network, named.input_shape)
    assert taken.complete
    for depth in (1, 2, 3, 9):
        folded = taken.fold(depth)
        assert sum(row.parameters for row in folded) == parameters
        assert sum(row.multiply_adds or 0 for row in folded) == taken.multiply_adds
        assert sum(row.training_bytes for row in folded) <= taken.training_bytes
    for layer in taken.layers:
        assert layer.kind not in ("Conv2d", "MaxPool2d", "AvgPool2d") or layer.formula, layer.name


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_the_table_equals_its_golden_file(name: str, golden: Callable[[str, str], None]) -> None:
    named = network_from_text(name, meta=True)
    taken = reslab.anatomy(named.network, named.input_shape, name=name)
    assert max(map(len, str(taken).splitlines())) <= 80
    golden(f"show_{name}.txt", str(taken))


def test_the_wide_table_and_depth_3_equal_their_golden_files(golden: Any) -> None:
    taken = reslab.anatomy(reslab.resnet18(), (3, 224, 224), name="resnet18")
    golden("show_resnet18_wide.txt", taken.table(width=160))
    golden("show_resnet18_depth3.txt", taken.table(depth=3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "field"),  # Araujo, Norris, Sim 2019, table 1; resnet50 with the stride in the 3x3
    [("alexnet", 195), ("vgg16", 212), ("inception_v3", 1311), ("densenet121", 2071), ("resnet50", 427)],
)
def test_receptive_fields_equal_the_published_ones(name: str, field: int) -> None:
    named = network_from_text(f"torchvision:{name}", meta=True)
    layers = reslab.anatomy(named.network, named.input_shape).layers
    largest = max(f.size for layer in layers if (f := layer.receptive_field) and f.jump != (0, 0))
    assert largest == (field, field)


class Branches(nn.Module):
    """Parallel branches, functional calls and odd sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Conv2d(4, 4, 1, stride=2)
        self.far = nn.Conv2d(4, 4, (3, 5), stride=2, padding=(1, 2))
        self.start = nn.Conv2d(3, 4, 3, padding=(0, 1))
        self.end = nn.Conv2d(8, 2, (2, 3), padding="same")

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.start(x))
        x = torch.cat([self.near(x) * 2, nn.functional.max_pool2d(self.far(x), 3, 1, 1)], dim=1)
        return self.end(x)[:, :, 1::2]


def positive(network: nn.Module) -> nn.Module:
    """Set positive weights, so that the gradient is 0 only outside of the receptive field."""
    for module in network.modules():
        for parameter in module.parameters(recurse=False):
            nn.init.constant_(parameter, 0.1)
    return network.double().eval()


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (reslab.cifar_resnet20(), 111),
        (
            nn.Sequential(reslab.Bottleneck(3, 8, 2), reslab.PreActivationBlock(8, 8), nn.Conv2d(8, 1, 3, 2)),
            64,
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, 2, dilation=2), nn.AvgPool2d(3, 2), nn.ZeroPad2d((2, 0, 1, 0))),
            50,
        ),
        (nn.Sequential(nn.Conv2d(3, 4, 5, 2, 2, padding_mode="reflect"), nn.Conv2d(4, 4, 3)), 50),
    ],
)
def test_the_receptive_field_is_where_the_gradient_is_not_0(network: nn.Module, side: int) -> None:
    network = positive(network)
    shape = (3, side, side + 6)
    layers = reslab.anatomy(network, shape).layers
    last = [row for row in layers if row.output and len(row.output) == 3 and row.output[1:] != (1, 1)][-1]
    kept: dict[str, Tensor] = {}
    network.get_submodule(last.name).register_forward_hook(lambda m, i, o: kept.update(out=o))
    photo = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    network(photo)
    assert last.output
    assert last.receptive_field
    i, j = last.output[1] // 2, last.output[2] // 3
    kept["out"][0, :, i, j].sum().backward()
    assert photo.grad is not None
    for axis, index in ((1, i), (2, j)):
        size, jump, start = (getattr(last.receptive_field, n)[axis - 1] for n in ("size", "jump", "start"))
        seen = photo.grad[0].abs().sum(dim=(0, 3 - axis)).nonzero().flatten().tolist()
        first, end = max(0, start + index * jump), min(shape[axis], start + index * jump + size)
        assert (seen[0], seen[-1] + 1) == (first, end)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_reflected_and_repeated_borders_are_padding(mode: str) -> None:
    def network(mode: str) -> nn.Module:
        first = nn.Conv2d(3, 8, (3, 5), 2, padding=(1, 2), padding_mode=mode)
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(8, 4, 3, padding="same", padding_mode=mode))

    rows, zeros = (reslab.anatomy(network(m), (3, 24, 32)).layers for m in (mode, "zeros"))
    assert rows[0].formula == "⌊([24, 32] + 2·[1, 2] - [3, 5])/2⌋ + 1 = [12, 16]"
    assert [row.as_json()["padding"] for row in rows] == [[1, 2], None, [1, 1]]
    for name in ("formula", "receptive_field", "multiply_adds", "parameters", "sources"):
        assert [getattr(row, name) for row in rows] == [getattr(row, name) for row in zeros], name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_t", "convnext_tiny"])
def test_transformers_and_convnext_have_right_shapes_and_costs(name: str) -> None:
    network = getattr(torchvision.models, name)()
    taken = reslab.anatomy(network, (3, 224, 224), name=name)
    assert taken.parameters == sum(p.numel() for p in network.parameters())
    assert 2 * taken.multiply_adds == flops(network, (3, 224, 224))
    assert taken.fold(2)[0].output == ((56, 56, 96) if name == "swin_t" else (96, 56, 56))
    assert taken.layers[-1].output == (1000,)
    assert f"{taken.multiply_adds:,}" in str(taken)


class Masked(nn.Module):
    """An addition of a constant that has only the shape of the input, as in Swin (Liu et al. 2021)."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.conv, self.own = nn.Conv2d(3, 3, 3, padding=1), own

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(x.shape[-2:]) if self.own else torch.ones_like(x)
        mask[1:] += 1
        return self.conv(x) + mask


@pytest.mark.parametrize("own", [True, False])
def test_a_constant_of_the_inputs_shape_is_no_shortcut(own: bool) -> None:
    layers = reslab.anatomy(nn.Sequential(nn.Conv2d(3, 3, 1), Masked(own)), (3, 8, 8)).layers
    assert [layer.sources for layer in layers] == [(-1,), (0,), (1,)]


class InstanceNormCalled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.instance_norm(x)


@pytest.mark.parametrize(
    ("norm", "sizes"),
    [
        (nn.BatchNorm2d(4), [3, 3, 5]),
        (nn.InstanceNorm2d(4, track_running_stats=True), [3, 3, 5]),
        (nn.GroupNorm(2, 4), [3, 64, 64]),
        (nn.InstanceNorm2d(4), [3, 64, 64]),
        (nn.BatchNorm2d(4, track_running_stats=False), [3, 64, 64]),
        (InstanceNormCalled(), [3, 64, 64]),
    ],
)
def test_a_norm_depends_on_the_pixels_of_its_statistics(norm: nn.Module, sizes: list[int]) -> None:
    network = (
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm, nn.Conv2d(4, 4, 3, padding=1)).double().eval()
    )
    fields = [layer.receptive_field for layer in reslab.anatomy(network, (3, 64, 64)).layers]
    assert [field.size for field in fields if field] == [(size, size) for size in sizes]
    photo = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    network(photo)[0, 0, 32, 32].backward()
    assert photo.grad is not None
    assert int(photo.grad[0].abs().sum(dim=(0, 1)).count_nonzero()) == sizes[-1]


def test_branches_concatenations_and_functional_calls_are_followed() -> None:
    taken = reslab.anatomy(Branches(), (3, 20, 32))
    rows = {row.name: row for row in taken.layers}
    assert list(rows) == ["start", "relu", "near", "mul", "far", "max_pool2d_with_indices", "cat", "end"]
    assert rows["cat"].formula == "4 + 4 = 8"
    assert rows["far"].formula == "⌊([18, 32] + 2·[1, 2] - [3, 5])/2⌋ + 1 = [9, 16]"
    assert rows["end"].formula == "⌊([10, 16] + 2·[0, 1] - [2, 3])/1⌋ + 1 = [9, 16]"
    assert rows["near"].receptive_field == reslab.ReceptiveField((3, 3), (2, 2), (0, -1))
    assert rows["far"].receptive_field == reslab.ReceptiveField((5, 7), (2, 2), (-1, -3))
    assert rows["cat"].receptive_field == reslab.ReceptiveField((9, 11), (2, 2), (-3, -5))
    assert [taken.layers[i].name for i in rows["cat"].sources] == ["mul", "max_pool2d_with_indices"]
    assert 2 * taken.multiply_adds == flops(Branches(), (3, 20, 32))


def test_a_block_is_a_range_of_layers_and_its_shortcut_a_source() -> None:
    taken = reslab.anatomy(reslab.resnet18(), (3, 224, 224))
    blocks = {block.name: block for block in taken.blocks}
    second = blocks["layer1.1"]
    inside = taken.layers[second.first : second.last]
    assert [row.name.removeprefix("layer1.1.") for row in inside] == [
        "conv1", "bn1", "relu", "conv2", "bn2", "add", "relu",
    ]  # fmt: skip
    add = next(row for row in inside if row.kind == "add")
    assert {taken.layers[i].name for i in add.sources} == {"layer1.1.bn2", "layer1.0.relu"}
    assert (second.input, second.output) == ((64, 56, 56), (64, 56, 56))
    assert taken.layers[0].sources == (-1,)


def test_shared_weights_are_counted_once_and_their_work_twice() -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    tied = nn.Conv2d(4, 4, 3, padding=1)
    tied.weight = layer.weight
    taken = reslab.anatomy(nn.Sequential(layer, nn.ReLU(), layer, tied), (4, 8, 8))
    assert [row.parameters for row in taken.layers] == [148, 0, 0, 4]
    assert [row.multiply_adds for row in taken.layers] == [9216, 0, 9216, 9216]
    assert "counted above" in taken.layers[2].notes[0]
    assert taken.parameters == 152


def test_training_bytes_equal_what_autograd_keeps() -> None:
    for network in (reslab.resnet18(num_classes=2), torchvision.models.squeezenet1_1(num_classes=2)):
        network.eval()
        own = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, own: set[int] = own, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            out = network(torch.zeros(4, 3, 64, 64))
        taken = reslab.anatomy(network, (3, 64, 64))
        assert sum(kept.values()) / 4 == pytest.approx(taken.training_bytes, rel=0.01)
        assert out.requires_grad


def test_inference_bytes_are_alive_at_once() -> None:
    chain = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1))
    photo, eight, two = 100 * 4, 800 * 4, 200 * 4
    rows = reslab.anatomy(chain, (1, 10, 10)).layers
    assert [row.inference_bytes for row in rows] == [photo + eight, photo + eight, photo + eight + two]
    rows = reslab.anatomy(reslab.BasicBlock(8, 8), (8, 10, 10)).layers
    found = [(row.kind, row.inference_bytes / eight) for row in rows]  # in maps; the photo is as large as one
    assert found == [
        ("Conv2d", 2),  # the photo, which the sum needs at the end, and what comes out
        ("BatchNorm2d", 3),
        ("ReLU", 3),
        ("Conv2d", 3),
        ("BatchNorm2d", 4),  # photo, what went into the convolution and came out of it, and its own
        ("add", 3),
        ("ReLU", 4),  # both that were added, the photo being one of them, their sum, and its own
    ]


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x).real


class Deciding(nn.Module):
    """A forward that depends on values, so that it cannot run on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if x.sum() >= 0 else x


def test_unknown_costs_and_fields_are_marked() -> None:
    taken = reslab.anatomy(nn.Sequential(Odd(), nn.Conv2d(3, 4, 3)), (3, 8, 8))
    assert taken.layers[0].multiply_adds is None
    assert not taken.complete
    assert taken.layers[1].receptive_field is None
    assert "?" in str(taken)
    assert "at least 3,888" in str(taken)
    assert "fft" in str(taken)
    up = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(4, 1, 1))
    rows = reslab.anatomy(up, (3, 8, 8)).layers
    assert rows[1].formula == "(6 - 1)·2 - 2·0 + 2 = 12"
    assert rows[1].receptive_field is None
    assert rows[2].receptive_field is None
    table = str(reslab.anatomy(up, (3, 8, 8)))
    assert "receptive fields are not followed through attention or upsampling" in table


def test_layers_that_never_run_are_counted_and_named() -> None:
    rows = reslab.anatomy(torchvision.models.googlenet(init_weights=False), (3, 64, 64)).layers
    never = {row.name: row for row in rows if "not used in inference" in row.notes}
    assert {name.split(".")[0] for name in never} == {"aux1", "aux2"}
    assert all(row.parameters and row.output is None for row in never.values())


def test_a_forward_that_depends_on_values_runs_with_weights() -> None:
    assert reslab.anatomy(Deciding(), (3, 8, 8)).multiply_adds == 27 * 4 * 36


def test_the_network_stays_unchanged() -> None:
    network: Any = reslab.cifar_resnet20().double()
    network.train()
    network.layer2[0].eval()
    network.conv1.requires_grad_(False)
    calls: list[str] = []
    network.layer1[0].conv2.register_forward_hook(lambda *a: calls.append("forward"))
    network.layer1[0].conv2.register_forward_pre_hook(lambda *a: calls.append("before"))
    network.layer1[0].conv2.register_full_backward_hook(lambda *a: calls.append("backward"))
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    network.note = ["mine"]

    def state() -> list[Any]:
        hooks = [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in network.modules()
        ]
        places = [
            (p.data_ptr(), p.dtype, p.device, p.requires_grad, p.grad is None) for p in network.parameters()
        ]
        values = [float(t.double().sum()) for t in network.state_dict().values()]
        modes = [m.training for m in network.modules()]
        random = torch.get_rng_state().tolist()
        return [hooks, places, values, modes, random, [*calls], [*network.note], torch.is_grad_enabled()]

    before, module_names = state(), [name for name, _ in network.named_modules()]
    first, second = (reslab.anatomy(network, (3, 32, 32)) for _ in range(2))
    assert state() == before
    assert [name for name, _ in network.named_modules()] == module_names
    assert first == second
    assert bool((network.fc.weight.grad == 1).all())
    with torch.inference_mode():
        assert reslab.anatomy(network, (3, 32, 32)) == first


@pytest.mark.parametrize(
    ("network", "shape", "words"),
    [
        (reslab.resnet18(), (1, 64, 64), ["conv1 (Conv2d)", "it takes 3 channels, not 1", "give 3x64x64"]),
        (torchvision.models.vgg11().features, (3, 20, 20), ["20 (MaxPool2d)", "512x1x1", "3x32x32 or"]),
        (nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)), (3, 64, 64), ["it takes 3072 values", "3x32x32"]),
        (nn.Sequential(nn.LazyLinear(2)), (3, 8, 8), ["run one image first"]),
        (reslab.resnet18(), (3, 224), ["is no shape"]),
        (reslab.resnet18(), (3, 224, 0), ["is no shape"]),
    ],
)  # fmt: skip
def test_an_error_names_the_layer_and_a_shape_that_fits(
    network: nn.Module, shape: Any, words: list[str]
) -> None:
    with pytest.raises(ReslabError) as caught:
        reslab.anatomy(network, shape)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do


@pytest.mark.parametrize("side", [10**9, 10**15, 10**30])
def test_an_image_that_no_memory_holds_is_an_error(side: int) -> None:
    with pytest.raises(NetworkError) as caught:
        reslab.anatomy(Deciding(), (3, side, side))
    assert f"3x{side}x{side}" in caught.value.what
    assert caught.value.why
    assert caught.value.do


def test_in_channels_is_advised_only_for_networks_that_have_it() -> None:
    for network, do in (
        (reslab.resnet18(), "give 3x64x64, or build the network with in_channels=1"),
        (torchvision.models.resnet18(), "give 3x64x64"),
        (reslab.BasicBlock(3, 8), "give 3x64x64"),
    ):
        with pytest.raises(NetworkError) as caught:
            reslab.anatomy(network, (1, 64, 64))
        assert caught.value.do == do


def test_a_network_that_cannot_be_copied_is_an_error() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    network.file = open(__file__)  # noqa: SIM115
    with network.file, pytest.raises(NetworkError, match="cannot be copied"):
        reslab.anatomy(network, (3, 8, 8))


@pytest.mark.slow
def test_an_anatomy_is_a_frozen_value_and_prints_at_any_width() -> None:
    taken = reslab.anatomy(reslab.cifar_resnet20(), (16, 3, 32, 32))
    assert taken.input == (3, 32, 32)
    assert hash(taken) == hash(dataclasses.replace(taken))
    for width in (40, 60, 80, 100, 160, 240):
        assert max(map(len, taken.table(width).split("\n\n")[1].splitlines())) <= width
    with pytest.raises(ReslabError, match="width 20"):
        taken.table(20)
    with pytest.raises(ReslabError, match="depth 0"):
        taken.fold(0)
