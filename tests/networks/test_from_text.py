"""Networks and blocks from the text that names them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reslab
from reslab.errors import NetworkError, UsageError
from reslab.networks.from_text import network_from_text
from reslab.networks.user_code import importable, run_file

FILE = """
from dataclasses import dataclass
from helper import KERNEL
from torch import nn

@dataclass
class Settings:
    kernel: int = KERNEL

class MyBlock(nn.Conv2d):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__(in_channels, out_channels, Settings().kernel, stride, 2)

def fails(in_channels, out_channels, stride):
    raise KeyError("no key")
"""


@pytest.fixture
def block_file(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("KERNEL = 5")
    (tmp_path / "my_block.py").write_text(FILE)
    return tmp_path / "my_block.py"


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


@pytest.mark.parametrize(
    "name", ["cifar_resnet20", "torchvision:squeezenet1_1", "cifar_resnet20:preactivation"]
)
def test_a_network_by_name_draws_its_weights_from_torchs_random_state(name: str) -> None:
    torch.manual_seed(1)
    first, second = reslab.create_network(name, num_classes=4), reslab.create_network(name, 4)
    torch.manual_seed(1)
    assert same_weights(first, reslab.create_network(name, 4))
    assert not same_weights(first, second)
    assert first.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_a_network_by_name_is_the_networks_function() -> None:
    torch.manual_seed(1)
    network = reslab.create_network("textbook_resnet18")
    torch.manual_seed(1)
    assert same_weights(network, reslab.textbook_resnet18())
    plain: Any = reslab.create_network("cifar_resnet20:PlainBlock", in_channels=1)
    assert isinstance(plain.layer1[0], reslab.PlainBlock)
    assert plain.conv1.in_channels == 1


def test_a_block_by_name_has_the_numbers_in_its_name() -> None:
    block: Any = reslab.create_network("TextbookBlock")
    assert (block.conv1.in_channels, block.conv1.out_channels, block.conv1.stride) == (64, 128, (2, 2))
    named = network_from_text("TextbookBlock:8,16,1", meta=True)
    assert named.input_shape == (8, 56, 56)
    assert named.network.conv1.weight.is_meta


def test_a_block_from_a_file_may_import_from_its_folder(block_file: Path) -> None:
    network: Any = reslab.create_network(f"{block_file}:MyBlock", num_classes=2)
    assert type(network.layer1[0]).__name__ == "MyBlock"
    assert network.layer1[0].kernel_size == (5, 5)
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 2)
    assert "helper" not in sys.modules
    assert str(block_file.parent) not in sys.path
    assert not list(block_file.parent.glob("__pycache__/my_block*"))


def test_a_changed_file_is_read_again(block_file: Path) -> None:
    for text in ("NUMBER = 1", "NUMBER = 2"):
        block_file.write_text(text)
        assert int(text[-1]) == run_file(block_file, "my_block").NUMBER
    del sys.modules["my_block"]


def test_modules_of_the_same_name_in_two_folders_are_kept_apart(tmp_path: Path) -> None:
    kernels = []
    for kernel in (3, 5):
        folder = tmp_path / str(kernel)
        folder.mkdir()
        (folder / "helper.py").write_text(f"KERNEL = {kernel}")
        (folder / "file.py").write_text("from helper import KERNEL")
        with importable(folder):
            kernels.append(run_file(folder / "file.py", "file").KERNEL)
    assert kernels == [3, 5]


def test_errors_of_a_file_are_reported(block_file: Path, refuses: Any) -> None:
    with refuses(NetworkError, "fails cannot be built", "KeyError: 'no key'"):
        reslab.create_network(f"{block_file}:fails")
    with refuses(NetworkError, "has no class or function 'Mine'", "it has Settings, MyBlock, fails"):
        reslab.create_network(f"{block_file}:Mine")
    for text, why in (
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ):
        block_file.write_text(text)
        with refuses(NetworkError, "does not run", why):
            reslab.create_network(f"{block_file}:MyBlock")


@pytest.mark.parametrize(
    ("text", "settings", "kind", "message"),
    [
        ("resnet19", {}, NetworkError, "did you mean 'resnet18'"),
        ("resnet18:fancy", {}, NetworkError, "there is no block 'fancy'"),
        ("BasicBlock:64,64", {}, NetworkError, "BasicBlock:64,128,2"),
        ("BasicBlock:64,64,0", {}, NetworkError, "from 1 to"),
        ("BasicBlock:64,64,99999999", {}, NetworkError, "to 10,000,000"),
        ("BasicBlock", {"num_classes": 7}, UsageError, "num_classes=7 for a single block"),
        ("torchvision:resnet19", {}, NetworkError, "no classifier 'resnet19'"),
        ("torchvision:resnet18", {"in_channels": 1}, NetworkError, "3 channels, not 1"),
        ("resnet18", {"num_classes": 0}, NetworkError, "num_classes=0"),
        ("nowhere.py:Block", {}, NetworkError, "there is no file nowhere.py"),
    ],
)
def test_names_that_cannot_be_built_are_refused(text: str, settings: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        reslab.create_network(text, **settings)


def test_building_on_meta_leaves_the_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    for name in ("cifar_resnet20", "torchvision:squeezenet1_1", "torchvision:regnet_y_400mf"):
        network_from_text(name, meta=True)
    assert torch.equal(torch.get_rng_state(), before)
