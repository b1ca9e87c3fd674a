"""Source of a user's file: what is recorded, and what counts as a change."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reslab
from reslab.errors import CodeNeededError, NetworkError
from reslab.networks.registry import NetworkSpec, make_spec
from reslab.networks.user_code import (
    MAX_SOURCE_CHARACTERS,
    UserCode,
    check_unchanged,
    digest_of,
    load_code,
    loaded,
)

BLOCK = """
import torch
from helper import KERNEL
from parts.inner import convolution

torch.manual_seed(3)

def MyBlock(in_channels, out_channels, stride):
    return convolution(in_channels, out_channels, KERNEL, stride)

def build(num_classes, in_channels=1):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(num_classes))
"""
INNER = """
from torch import nn

def convolution(i, o, kernel, stride):
    return nn.Conv2d(i, o, kernel, stride, kernel // 2)
"""


@pytest.fixture
def my_block(tmp_path: Path) -> Path:
    """Write a file that imports a module and a package of its folder."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/inner.py").write_text(INNER)
    (tmp_path / "helper.py").write_text("KERNEL = 3\n")
    (tmp_path / "unused.py").write_text("raise SystemExit")
    (tmp_path / "my_block.py").write_text(BLOCK)
    return tmp_path / "my_block.py"


def test_the_file_and_the_modules_of_its_folder_are_recorded(my_block: Path) -> None:
    states = torch.get_rng_state(), random.getstate()
    code = load_code(my_block, "MyBlock")
    assert (code.file, code.name, len(code.digest)) == ("my_block.py", "MyBlock", 32)
    assert dict(code.sources) == {
        "my_block.py": BLOCK, "helper.py": "KERNEL = 3\n", "parts/inner.py": INNER
    }  # fmt: skip
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert not {"helper", "parts", "parts.inner"} & sys.modules.keys()
    function: Any = loaded(code)
    assert function(3, 4, 2).weight.shape == (4, 3, 3, 3)
    assert load_code(my_block, "MyBlock") == code


@pytest.mark.parametrize("file", ["my_block.py", "helper.py", "parts/inner.py"])
def test_an_edit_of_any_of_the_files_is_a_change_and_is_shown(
    file: str, my_block: Path, refuses: Any
) -> None:
    before = load_code(my_block, "MyBlock")
    path = my_block.parent / file
    path.write_text(path.read_text() + "EDITED = True\n")
    now = load_code(my_block, "MyBlock")
    words = f"{file} has changed", "+EDITED = True", "restore the recorded text"
    with refuses(NetworkError, "my_block.py:MyBlock is not the code", *words):
        check_unchanged(before, now)


def test_the_difference_is_short_and_printable(my_block: Path) -> None:
    before = load_code(my_block, "MyBlock")
    my_block.write_text(BLOCK.replace("torch.manual_seed(3)", "a = 1\n" * 500 + "b = '\x1b[31m'"))
    with pytest.raises(NetworkError) as caught:
        check_unchanged(before, load_code(my_block, "MyBlock"))
    assert "@@ -5,3 +5" in caught.value.why
    assert len(caught.value.why.splitlines()) < 14
    assert "\x1b" not in caught.value.why


def test_another_name_or_import_is_a_change(my_block: Path, refuses: Any) -> None:
    before = load_code(my_block, "MyBlock")
    with refuses(NetworkError, "that was my_block.py:MyBlock"):
        check_unchanged(before, load_code(my_block, "build"))
    my_block.write_text(BLOCK.replace("from helper import KERNEL", "KERNEL = 3"))
    now = load_code(my_block, "MyBlock")
    with refuses(NetworkError, "helper.py has changed", "-KERNEL = 3", "also changed: my_block.py"):
        check_unchanged(before, now)
    with refuses(NetworkError, "helper.py has changed", "+KERNEL = 3"):
        check_unchanged(now, before)


def test_a_file_in_another_folder_is_the_same_code(my_block: Path, tmp_path: Path) -> None:
    before = load_code(my_block, "MyBlock")
    moved = my_block.parent.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    check_unchanged(before, load_code(moved / "my_block.py", "MyBlock"))


def test_what_is_too_large_to_keep_is_refused(my_block: Path, refuses: Any) -> None:
    my_block.write_text(BLOCK + f"TEXT = '{'a' * MAX_SOURCE_CHARACTERS}'")
    with refuses(NetworkError, "too large to be kept", "3 files"):
        load_code(my_block, "MyBlock")


def test_a_forged_digest_is_no_code(my_block: Path) -> None:
    code = load_code(my_block, "MyBlock")
    for forged in ({"digest": "0" * 32}, {"sources": {"my_block.py": ""}}, {"file": "other.py"}):
        with pytest.raises(ValueError, match="not that of its sources"):
            replace(code, **forged)


def test_a_built_module_is_not_a_block(my_block: Path, refuses: Any) -> None:
    my_block.write_text("from torch import nn\nnet = nn.Linear(2, 2)\ndef block(i, o, s): ...\n")
    with refuses(NetworkError, "no class or function 'net'", "it has block"):
        load_code(my_block, "net")


@pytest.mark.parametrize("text", ["{file}:MyBlock", "cifar_resnet20:{file}:MyBlock"])
def test_a_spec_of_a_file_is_built(text: str, my_block: Path) -> None:
    name = text.format(file=my_block)
    spec = make_spec(name, 2, stem="small")
    network: Any = spec.build()
    assert isinstance(network.layer1[0], nn.Conv2d)
    assert network.conv1.stride == (1, 1)


def test_a_file_that_a_spec_names_is_never_run(my_block: Path, refuses: Any) -> None:
    """A run or a model may come from anywhere, and its spec names any file."""
    load_code(my_block, "MyBlock")
    marker = my_block.with_name("marker.py")
    marker.write_text("from pathlib import Path\nPath(__file__).with_name('was_run').touch()\nX = dict\n")
    sources = {"marker.py": marker.read_text()}
    code = UserCode("marker.py", "X", digest_of("marker.py", sources), sources)
    for name in (f"resnet18:{marker}:X", f"{marker}:X"):
        for recorded in (None, code):
            with refuses(CodeNeededError, "from a file of your own", f"network='{name}'"):
                NetworkSpec(name, 2, 3, code=recorded).build()
    assert not my_block.with_name("was_run").exists()


def test_a_spec_accepts_only_its_own_file_and_network(my_block: Path, refuses: Any) -> None:
    spec = make_spec(f"cifar_resnet20:{my_block}:MyBlock", 2)
    for text in (f"{my_block}:MyBlock", f"cifar_resnet20:{my_block}:MyBlock"):
        spec.use_file(text)
    for text in (f"resnet18:{my_block}:MyBlock", "cifar_resnet20", "cifar_resnet20:plain"):
        with refuses(NetworkError, f"{text} is not this network"):
            spec.use_file(text)
    named = make_spec("cifar_resnet20:plain", 2)
    named.use_file("cifar_resnet20:PlainBlock")
    for text in ("cifar_resnet20", f"cifar_resnet20:{my_block}:MyBlock", "resnet18:plain"):
        with refuses(NetworkError, f"{text} is not this network"):
            named.use_file(text)


WHOLE = """
from torch import nn

def build(num_classes, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))

class Net(nn.Sequential):
    def __init__(self, num_classes=7):
        super().__init__(nn.Conv2d(3, num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def number(num_classes):
    return num_classes

def fails(num_classes):
    raise KeyError("no key")
"""


def test_a_callable_with_num_classes_is_a_whole_network(tmp_path: Path, refuses: Any) -> None:
    (tmp_path / "my_net.py").write_text(WHOLE)
    file = tmp_path / "my_net.py"
    network: Any = reslab.create_network(f"{file}:build", 5, in_channels=3)
    assert (network[0].in_channels, network[3].out_features) == (3, 5)
    network = reslab.create_network(f"{file}:build")
    assert (network[0].in_channels, network[3].out_features) == (1, 1000)
    assert make_spec(f"{file}:build", 2).in_channels == 1
    assert reslab.create_network(f"{file}:Net")(torch.rand(1, 3, 8, 8)).shape == (1, 7)
    with refuses(NetworkError, "number cannot be built", "returned int"):
        reslab.create_network(f"{file}:number")
    with refuses(NetworkError, "fails cannot be built", "KeyError: 'no key'"):
        reslab.create_network(f"{file}:fails")
    with refuses(NetworkError, "is built as its source defines it"):
        make_spec(f"{file}:build", 2, stem="small").build()
    with refuses(NetworkError, "is not a block (in_channels, out_channels, stride)"):
        reslab.create_network(f"resnet18:{file}:build")
