"""The precision is measured, cached and recorded, and measuring changes nothing else."""

import copy
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import reslab
from reslab import Photos, Recipe, cifar_resnet20, prepare
from reslab.errors import RecipeError
from reslab.files import UNFINISHED, UNFINISHED_MAX_AGE_S
from reslab.networks.precision import UNCOMPILED, parse_precision
from reslab.training.muon import Muon
from reslab.training.optimizer import make_optimizer
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision
from reslab.training.timing.timed_steps import time_steps

CPU = torch.device("cpu")


@pytest.fixture
def auto(small: Recipe) -> Recipe:
    """A run long enough to time all candidates."""
    return small.with_settings(precision="auto", epochs=10_000)


def measure(network: torch.nn.Module, recipe: Recipe, lines: list[str] | None = None) -> MeasuredPrecision:
    say = (lambda text: None) if lines is None else lines.append
    return measure_precision(network, recipe, 16, CPU, say)


@pytest.mark.slow
def test_auto_picks_the_fastest_timed_precision_and_caches_it(auto: Recipe, own_cache: Path) -> None:
    network, lines = cifar_resnet20(num_classes=2), list[str]()
    first = measure(network, auto, lines)
    assert len(lines) == 1
    assert first.precision == next(iter(first.images_per_second))
    assert first.threads == torch.get_num_threads()
    assert set(first.images_per_second) <= set(UNCOMPILED)
    assert str(first).startswith(f"precision {first.precision}, fastest of {first.precision} ")
    assert measure(network, auto, lines) == first
    assert len(lines) == 1  # the second time it comes from the cache
    (cache,) = own_cache.rglob("precision.json")
    other = measure(network, auto.with_settings(size=24, resize=24), lines)
    assert len(lines) == 2
    assert len(json.loads(cache.read_text())) == 2
    assert measure(network, auto) == first
    assert other.seconds_per_step > 0
    measure(network, auto.with_settings(epochs=1000), lines)
    assert len(lines) == 3  # a longer run gets a better measurement


def test_a_short_run_does_not_time_every_candidate(small: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reslab.training.timing.autotune.has_fast_bf16", lambda: True)
    measured = measure(cifar_resnet20(num_classes=2), small.with_settings(precision="auto", epochs=1))
    assert measured.precision == "fp32"
    assert list(measured.images_per_second) == ["fp32"]


def test_a_precision_that_gives_another_loss_is_not_chosen(
    auto: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.training.timing.autotune.has_fast_bf16", lambda: True)

    class WrongAndFastInBf16(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            wrong = 9.0 if x.dtype == torch.bfloat16 else 0.0
            time.sleep(0.0 if wrong else 0.05)
            return self.fc(x.mean((2, 3))) + torch.tensor([-wrong, wrong])

    measured = measure(WrongAndFastInBf16(), auto)
    assert measured.precision.startswith("fp32")
    assert next(iter(measured.images_per_second)).startswith("bf16")


@pytest.mark.parametrize("has_bf16", [True, False])
def test_bf16_is_not_tried_on_a_processor_without_it(
    has_bf16: bool, auto: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.training.timing.autotune.has_fast_bf16", lambda: has_bf16)
    network, dtypes, lines = cifar_resnet20(num_classes=2), set[torch.dtype](), list[str]()
    network.conv1.register_forward_hook(lambda module, images, output: dtypes.add(output.dtype))
    measure(network, auto, lines)
    assert dtypes == ({torch.float32, torch.bfloat16} if has_bf16 else {torch.float32})
    measure(network, auto.with_settings(precision="bf16"), lines)
    assert ("has no bf16" in lines[-1]) == (not has_bf16)


@pytest.mark.parametrize("precision", UNCOMPILED)
def test_timed_steps_use_the_same_optimizer_as_the_training(
    precision: str, small: Recipe, photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small.with_settings(optimizer="muon", precision=precision)
    network, dtype = cifar_resnet20(num_classes=2), parse_precision(precision).dtype
    timed: list[torch.optim.Optimizer] = []

    def recording(*arguments: object) -> torch.optim.Optimizer:
        timed.append(make_optimizer(*arguments))  # type: ignore[arg-type]
        return timed[-1]

    monkeypatch.setattr("reslab.training.timing.timed_steps.make_optimizer", recording)
    time_steps(network, recipe, parse_precision(precision), CPU, torch.rand(4, 3, 16, 16), 8)
    setup = prepare(network, Photos(photo_folder(train=10)), recipe, progress=False)
    for optimizer in (*timed, setup.state.optimizer):
        assert isinstance(optimizer, Muon)
        assert optimizer.dtype == dtype


def test_timed_steps_keep_the_random_state_and_repeat_dropout(small: Recipe) -> None:
    nn, images = torch.nn, torch.rand(4, 3, 16, 16)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 16 * 16, 2))
    state = torch.get_rng_state()
    first, second = (time_steps(network, small, parse_precision("fp32"), CPU, images, 4) for _ in range(2))
    assert first.loss == second.loss
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("precision", UNCOMPILED)
def test_a_named_precision_is_used_and_timed(small: Recipe, precision: str) -> None:
    measured = measure(cifar_resnet20(num_classes=2), small.with_settings(precision=precision))
    assert measured.precision == precision
    assert str(measured) == f"precision {precision}"
    assert measured.seconds_per_step > 0


def test_measuring_keeps_weights_gradients_modes_and_random_state(auto: Recipe) -> None:
    network = cifar_resnet20(num_classes=2)
    network.layer1.eval()
    network(torch.zeros(2, 3, 16, 16)).sum().backward()
    before = copy.deepcopy(network)
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    state = torch.get_rng_state()
    measure(network, auto)
    assert torch.equal(torch.get_rng_state(), state)
    for (name, old), new in zip(before.state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.equal(old, new), name
    for parameter, old in zip(network.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, old)
    assert [m.training for m in before.modules()] == [m.training for m in network.modules()]


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"a": {}}',
        '{"a": {"precision": "fp32", "seconds_per_step": "soon"}}', "\udce9",
        '{"a": {"precision": "fp32", "seconds_per_step": NaN}}',
        '{"a": {"precision": "fp32", "seconds_per_step": 1, "threads": 1000000}}',
    ],
)  # fmt: skip
def test_a_damaged_cache_is_ignored_and_replaced(content: str, small: Recipe, own_cache: Path) -> None:
    measure(cifar_resnet20(num_classes=2), small)
    (cache,) = own_cache.rglob("precision.json")
    cache.write_text(content, errors="surrogateescape")
    measured = measure(cifar_resnet20(num_classes=2), small)
    assert [value["precision"] for value in json.loads(cache.read_text()).values()] == [measured.precision]


def test_unfinished_cache_files_of_killed_processes_are_removed(small: Recipe, own_cache: Path) -> None:
    old = own_cache / "reslab" / f".precision.json.0123{UNFINISHED}"
    old.parent.mkdir()
    old.write_text("{")
    os.utime(old, (0, time.time() - 2 * UNFINISHED_MAX_AGE_S))
    measure(cifar_resnet20(num_classes=2), small)
    assert [path.name for path in old.parent.iterdir()] == ["precision.json"]


def test_a_read_only_cache_folder_is_no_error(
    small: Recipe, small_disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk("ro")))
    assert measure(cifar_resnet20(num_classes=2), small).precision == "fp32"


@pytest.mark.slow
def test_a_run_records_the_precision_and_a_second_run_gives_the_same_weights(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos, recipe = photo_folder(train=20), small.with_settings(precision="auto", epochs=1)
    runs = [
        reslab.train(photos, "cifar_resnet20", recipe, run=tmp_path / name, progress=False, say=str)
        for name in "ab"
    ]
    first, second = (run.about["measured"] for run in runs)
    assert first == second
    assert first["precision"] in UNCOMPILED
    assert torch.equal(*(run.classifier.network.fc.weight for run in runs))


def test_an_unknown_precision_is_refused_before_a_photo_is_decoded(
    small: Recipe, photo_folder: Callable[..., Path], own_cache: Path
) -> None:
    photos = Photos(photo_folder(train=10))
    with pytest.raises(RecipeError, match="did you mean 'bf16'"):
        prepare(cifar_resnet20(num_classes=2), photos, small.with_settings(precision="fp16"), progress=False)
    assert not list(own_cache.rglob("pixels/*"))


@pytest.mark.parametrize("wrong", [{"precision": "fp16"}, {"device": "abacus"}])
def test_an_unknown_precision_or_device_is_refused_before_photos_are_listed(
    wrong: dict[str, str], small: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong.values()))):
        reslab.train(tmp_path / "no photos", "resnet18", small.with_settings(**wrong), run=tmp_path / "run")


def test_networks_that_differ_only_in_their_blocks_are_measured_separately(
    small: Recipe, own_cache: Path
) -> None:
    without_weights = partial(reslab.BasicBlock, shortcut="A")
    networks = [cifar_resnet20(num_classes=2, block=block) for block in (without_weights, reslab.PlainBlock)]
    assert len({sum(p.numel() for p in network.parameters()) for network in networks}) == 1
    for network in networks:
        measure(network, small)
    (cache,) = own_cache.rglob("precision.json")
    assert len(json.loads(cache.read_text())) == 2
