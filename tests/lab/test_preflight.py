"""check_block: each mistake is named with its cause, its layer and its shapes, and good blocks pass."""

from __future__ import annotations

import importlib.util
import json
import random
import types
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lab.faulty_blocks import FAULTLESS, FAULTY, Faulty, ForgottenStride, Residual, UnusedLayer
from torch import nn

import reslab
from reslab.lab.block_checks.preflight import new_block_file
from reslab.networks.from_text import BLOCKS

Refuses = Callable[..., AbstractContextManager[None]]
# other people's blocks, whose adapters are pasted below them
FOREIGN = [
    ("torchvision.models.resnet", "BasicBlock"),
    ("timm.models.resnet", "Bottleneck"),
    ("timm.models._efficientnet_blocks", "InvertedResidual"),
    ("timm.models.convnext", "ConvNeXtBlock"),
    ("lab.faulty_blocks", "TextbookResidual"),
]


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda faulty: faulty.block.__name__)
def test_a_mistake_is_named_with_cause_layer_and_shapes(faulty: Faulty) -> None:
    problem = reslab.check_block(faulty.block, "cifar_resnet20").problem
    assert problem is not None
    assert faulty.cause in problem.cause
    assert problem.where.startswith(faulty.block.__name__)
    assert faulty.where in problem.where
    assert faulty.shapes in problem.shapes
    assert problem.do


@pytest.mark.parametrize(
    ("block", "note"), FAULTLESS.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_block_without_a_mistake_passes(block: type[nn.Module], note: str) -> None:
    check = reslab.check_block(block, "cifar_resnet20")
    assert check.passed, check
    assert len(check.notes) == bool(note)
    assert note in "".join(check.notes)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_of_reslab_passes(name: str) -> None:
    check = reslab.check_block(name, "cifar_resnet20")
    assert check.passed, check


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_of_reslab_passes_at_the_sizes_of_resnet18(name: str) -> None:
    check = reslab.check_block(name)
    assert check.passed, check


@pytest.mark.slow
@pytest.mark.parametrize("network", ["cifar_resnet20", "resnet18"])
@pytest.mark.parametrize(("module", "name"), FOREIGN)
def test_a_foreign_block_is_refused_with_an_adapter_that_passes(module: str, name: str, network: str) -> None:
    block = getattr(pytest.importorskip(module), name)
    problem = reslab.check_block(block, network).problem
    assert problem is not None
    assert problem.cause.startswith("it does not take (in_channels, out_channels, stride)")
    pasted = types.ModuleType("pasted")
    setattr(pasted, name, block)
    source = problem.do.partition("\n")[2]
    exec("\n".join(line.removeprefix("    ") for line in source.splitlines()), vars(pasted))
    check = reslab.check_block(pasted.block, network)
    assert check.passed, check


def test_sizes_are_those_of_the_network() -> None:
    problem = reslab.check_block(ForgottenStride).problem
    assert problem is not None
    assert problem.where == "ForgottenStride(64, 128, 2), layer conv1 (Conv2d)"
    assert problem.shapes == "(2, 64, 56, 56) -> (2, 128, 56, 56), expected (2, 128, 28, 28)"


def test_what_the_network_or_the_training_ignores_is_a_note() -> None:
    class Ignored(Residual):
        def __init__(self, i: int, o: int, s: int) -> None:
            super().__init__(i, o, s)
            nn.init.zeros_(self.conv2.weight)
            self.bn1.bias.requires_grad = False

    notes = reslab.check_block(Ignored, "cifar_resnet20").notes
    assert notes[0] == "bn1.bias is never trained: its requires_grad is False"
    assert notes[1].startswith("all weights of conv2 start at 0, but ResNet draws")


def test_random_states_stay_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    class Careless(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            print(x.shape)
            torch.manual_seed(0)
            np.random.seed(0)
            random.seed(0)
            torch.set_grad_enabled(False)
            return super().forward(x)

    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    reslab.check_block(Careless, "cifar_resnet20")
    after = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    assert torch.equal(after[0], before[0])
    assert after[1:] == before[1:]
    assert torch.is_grad_enabled()
    assert capsys.readouterr().out == ""


def test_the_result_as_text_and_json() -> None:
    good = reslab.check_block("basic", "cifar_resnet20")
    lines = str(good).splitlines()
    assert lines[0] == "basic can be compared in cifar_resnet20"
    assert lines[1].startswith("  passed: arguments, the constructor, ")
    assert json.loads(json.dumps(good.as_json())) == {
        "block": "basic",
        "network": "cifar_resnet20",
        "passed": True,
        "problem": None,
        "notes": [],
        "checked": list(good.checked),
    }
    bad = reslab.check_block(UnusedLayer, "cifar_resnet20")
    assert bad.problem is not None
    assert str(bad).splitlines()[:4] == [
        "UnusedLayer cannot be compared in cifar_resnet20: conv3.weight is never used",
        "  where:  UnusedLayer(16, 32, 2), conv3.weight",
        "  shapes: conv3.weight (32, 32, 3, 3)",
        f"  do:     {bad.problem.do}",
    ]
    assert bad.as_json()["problem"] == {
        "cause": "conv3.weight is never used",
        "where": "UnusedLayer(16, 32, 2), conv3.weight",
        "shapes": "conv3.weight (32, 32, 3, 3)",
        "do": bad.problem.do,
    }
    assert replace(bad, problem=None).passed


def test_the_template_passes_and_computes_what_basic_block_does(tmp_path: Path, refuses: Refuses) -> None:
    path = tmp_path / "my_block.py"
    new_block_file(path)
    assert reslab.check_block(f"cifar_resnet20:{path}:MyBlock").passed
    template = importlib.util.spec_from_file_location("my_block", path)
    assert template is not None
    assert template.loader is not None
    module = importlib.util.module_from_spec(template)
    template.loader.exec_module(module)
    for arguments in ((16, 16, 1), (16, 32, 2)):
        mine, basic = module.MyBlock(*arguments), reslab.BasicBlock(*arguments)
        tensors = zip(basic.state_dict(), mine.state_dict().values(), strict=True)
        basic.load_state_dict(dict(tensors))
        x = torch.randn(2, 16, 8, 8)
        assert torch.equal(mine(x), basic(x))
    path.write_text(path.read_text() + "# mine\n")
    with refuses(reslab.UsageError, "exists already", "never overwritten", "another name"):
        new_block_file(path)
    assert path.read_text().endswith("# mine\n")


def test_unusable_names_are_refused(tmp_path: Path, refuses: Refuses) -> None:
    with refuses(reslab.NetworkError, "there is no block 'basicc'", "did you mean 'basic'?"):
        reslab.check_block("basicc")
    with refuses(reslab.NetworkError, "a block cannot be checked in 'vgg16'", "family", "known: "):
        reslab.check_block("basic", "vgg16")
    with refuses(reslab.UsageError, "is not the name of a Python file", "my_block.py"):
        new_block_file(tmp_path / "my_block")
    with refuses(reslab.UsageError, "cannot be written", "No such file", "folder of your own"):
        new_block_file(tmp_path / "none" / "my_block.py")
