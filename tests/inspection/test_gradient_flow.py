"""Gradient flow: norms equal autograd's, the network stays unchanged, the plot shows every flow."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reslab
from reslab.errors import NetworkError, UsageError
from reslab.inspection.gradient_flow import gradient_flow_figure

Batch = tuple[Tensor, Tensor]


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(4, 3, 32, 32, generator=generator), torch.tensor([3, 0, 9, 3])


def expected_norms(network: nn.Module, batch: Batch) -> dict[str, float]:
    network = copy.deepcopy(network).train()
    nn.functional.cross_entropy(network(batch[0]), batch[1]).backward()  # type: ignore[no-untyped-call]
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {
        n: float(m.weight.grad.square().sum().sqrt()) for n, m in layers.items() if m.weight.grad is not None
    }


@pytest.mark.parametrize("name", ["cifar_resnet20", "resnet18"])
def test_norms_equal_those_of_a_backward_pass(name: str, batch: Batch) -> None:
    network = reslab.create_resnet(name, num_classes=10).eval()
    flow = reslab.gradient_flow(network, batch)
    expected = expected_norms(network, batch)
    assert sorted(flow.names) == sorted(expected)
    for layer, norm in zip(flow.names, flow.norms, strict=True):
        assert norm == pytest.approx(expected[layer], rel=1e-4), layer
    network.train()
    assert flow.loss == pytest.approx(
        nn.functional.cross_entropy(network(batch[0]), batch[1]).item(), rel=1e-4
    )


@pytest.mark.parametrize(("name", "depth"), [("cifar_resnet20", 20), ("resnet18", 18)])
def test_the_last_layer_has_the_depth_in_the_networks_name(name: str, depth: int, batch: Batch) -> None:
    flow = reslab.gradient_flow(reslab.create_resnet(name, num_classes=10), batch)
    found = dict(zip(flow.names, flow.depths, strict=True))
    assert found["conv1"] == 1
    assert found["fc"] == depth == max(flow.depths)
    if name != "cifar_resnet20":  # a projection runs beside the block's first convolution
        assert found["layer2.0.downsample.0"] == found["layer2.0.conv1"]


@pytest.mark.slow
def test_the_gradient_explodes_without_shortcuts(batch: Batch) -> None:
    growth = {}
    for block in (None, reslab.PlainBlock):
        torch.manual_seed(0)
        flow = reslab.gradient_flow(reslab.create_resnet("cifar_resnet56", block=block), batch)
        growth[block] = flow.norms[0] / flow.norms[-2]
    assert growth[None] < 100 < 500 < growth[reslab.PlainBlock]


def test_the_network_stays_unchanged(batch: Batch) -> None:
    network = reslab.cifar_resnet20()
    network.layer1[0].eval()
    network.fc.weight.requires_grad_(False)
    network.conv1.weight.grad = torch.ones_like(network.conv1.weight)
    calls: list[Any] = []
    network.fc.register_forward_hook(lambda *args: calls.append(args))
    state = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    images, random = batch[0].clone(), torch.get_rng_state()
    with torch.no_grad():
        flow = reslab.gradient_flow(network, batch)
    assert [module.training for module in network.modules()] == modes
    assert all(bool((value == state[key]).all()) for key, value in network.state_dict().items())
    assert [n for n, p in network.named_parameters() if p.grad is not None] == ["conv1.weight"]
    assert bool((network.conv1.weight.grad == 1).all())
    assert not network.fc.weight.requires_grad
    assert calls == []
    assert bool((batch[0] == images).all())
    assert batch[0].grad is None
    assert bool((torch.get_rng_state() == random).all())
    assert min(flow.norms) > 0, "a frozen layer shows the gradient that it would have"


def test_dropout_is_off(batch: Batch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.9), nn.Flatten(), nn.Linear(3600, 10)).train()
    assert reslab.gradient_flow(network, batch) == reslab.gradient_flow(network, batch)


class TwoConvs(nn.Module):
    """Two weights with other names, one for each half of the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Parameter(torch.rand(2, 3, 3, 3)) for _ in range(2))
        self.weight_of_nothing = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        halves = [nn.functional.conv2d(x, weight) for weight in (self.left, self.right)]
        return torch.cat(halves, dim=1) + self.weight_of_nothing[:, None, None]


class ConvBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias[:, None, None]


def test_weights_with_other_names_are_found(batch: Batch) -> None:
    network = nn.Sequential(TwoConvs(), ConvBias(), nn.Flatten(), nn.Linear(3600, 10))
    flow = reslab.gradient_flow(network, batch)
    assert flow.names == ("0", "3")
    nn.functional.cross_entropy(network(batch[0]), batch[1]).backward()  # type: ignore[no-untyped-call]
    both: Any = network[0]
    squares = sum(float(p.grad.square().sum()) for p in (both.left, both.right))
    assert flow.norms[0] == pytest.approx(squares**0.5, rel=1e-4)


def test_a_flow_prints_one_row_per_layer(batch: Batch) -> None:
    flow = reslab.gradient_flow(reslab.cifar_resnet20(), batch)
    lines = str(flow).splitlines()
    assert lines[0].split() == ["layer", "depth", "gradient", "norm"]
    assert [line.split()[0] for line in lines[2:-1]] == list(flow.names)
    assert lines[-1] == f"loss {flow.loss:.4g}"


@pytest.mark.slow
def test_the_plot_shows_every_flow_with_texts_inside_the_frame(tmp_path: Path) -> None:
    one = reslab.GradientFlow(("a", "b", "c"), (1, 2, 3), (1000.0, 0.0, 0.1), 2.3)
    flows = {"PlainNet-56": one, "ResNet-56": one, "a third with a rather long label": one}
    figure = gradient_flow_figure(flows)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert len({(line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}) == 3
    assert list(axes.get_lines()[0].get_xdata()) == [1, 3], "a norm of 0 has no place on a logarithmic axis"
    legend = axes.get_legend()
    assert legend is not None
    texts = [*legend.get_texts(), axes.xaxis.label, axes.yaxis.label]
    assert [text.get_text() for text in texts[:3]] == list(flows)
    for text in texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text.get_text()
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        reslab.plot_gradient_flow(flows, file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_wrong_batches_are_errors(batch: Batch, refuses: Any, tmp_path: Path) -> None:
    network = reslab.cifar_resnet20()
    images, labels = batch
    with refuses(UsageError, "(4, 3, 32, 32)", "(3,)"):
        reslab.gradient_flow(network, (images, labels[:3]))
    with refuses(UsageError, "no batch"):
        reslab.gradient_flow(network, (images[:0], labels[:0]))
    with refuses(UsageError, "labels 0 to 10", "0 to 9"):
        reslab.gradient_flow(network, (images, torch.tensor([0, 1, 2, 10])))
    with refuses(UsageError, "torch.float32"):
        reslab.gradient_flow(network, (images, labels.float()))
    with refuses(NetworkError, "channels"):
        reslab.gradient_flow(network, (images[:, :1], labels))
    with refuses(NetworkError, "batch norm needs two"):
        reslab.gradient_flow(reslab.resnet18(num_classes=10), (images[:1], labels[:1]))
    with refuses(NetworkError, "logits"):
        reslab.gradient_flow(network[:3], batch)
    with refuses(UsageError, "no gradient"):
        reslab.plot_gradient_flow({}, tmp_path / "flow.svg")
    with refuses(UsageError, "flow.gif"):
        reslab.plot_gradient_flow({}, tmp_path / "flow.gif")


@pytest.mark.parametrize("make", ["script", "trace", "part"])
def test_a_scripted_network_is_refused_with_what_to_give(make: str, batch: Batch) -> None:
    network: Any = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    if make == "part":
        network[0] = torch.jit.script(network[0])
    else:
        network = torch.jit.script(network) if make == "script" else torch.jit.trace(network, batch[0])
    for examine in (
        lambda: reslab.anatomy(network, (3, 32, 32)),
        lambda: reslab.gradient_flow(network, batch),
    ):
        with pytest.raises(NetworkError, match="scripted or traced module") as caught:
            examine()
        assert "before torch.jit.script" in caught.value.do


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_images_that_are_not_normalized_are_refused(dtype: torch.dtype, batch: Batch) -> None:
    network = reslab.create_resnet("cifar_resnet20", num_classes=10)
    with pytest.raises(UsageError, match="are not normalized"):
        reslab.gradient_flow(network, ((100 * batch[0].abs()).to(dtype), batch[1]))
