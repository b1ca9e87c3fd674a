"""Precision is measured, remembered and recorded, and measuring changes nothing."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

import reslab
from reslab import BasicBlock, Photos, Recipe, ResNet, cifar_resnet20, prepare
from reslab.errors import RecipeError
from reslab.files import _place
from reslab.hardware import cores, multiplies_bf16
from reslab.networks.precision import CANDIDATES, parse_precision
from reslab.training.muon import Muon
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision
from reslab.training.timing.timed_steps import TimedSteps

CPU = torch.device("cpu")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is ours alone, which the one that runs the tests seldom is."""
    monkeypatch.setattr("reslab.training.timing.autotune.waiting", lambda: 0.0)


@pytest.fixture
def busy() -> Iterator[None]:
    """A machine that other programs keep busy, with real ones."""
    # they end with this process, should it be killed
    code = f"import os\nprint(flush=True)\nwhile os.getppid() == {os.getpid()}: pass"
    others: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(2 * cores()):
            others.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()


def measure(network: torch.nn.Module, recipe: Recipe, said: list[str] | None = None) -> MeasuredPrecision:
    say = (lambda text: None) if said is None else said.append
    return measure_precision(network, "cifar_resnet20", recipe, recipe.preprocess(3), 16, CPU, say)


@pytest.mark.usefixtures("quiet")
def test_auto_picks_the_fastest_that_was_measured_and_remembers_it(small: Recipe, own_cache: Path) -> None:
    network, recipe, said = cifar_resnet20(num_classes=2), small.with_settings(precision="auto"), []
    first = measure(network, recipe, said)
    assert len(said) == 1
    assert first.precision == next(iter(first.images_per_second))
    assert first.threads == torch.get_num_threads()
    assert set(first.images_per_second) <= set(CANDIDATES)
    assert str(first).startswith(f"precision {first.precision}")
    assert measure(network, recipe, said) == first
    assert len(said) == 1  # nothing was measured a second time
    (memory,) = own_cache.rglob("precision.json")
    other = measure(network, recipe.with_settings(size=24, resize=24), said)
    assert len(said) == 2
    assert len(json.loads(memory.read_text())) == 2
    assert measure(network, recipe) == first
    assert other.seconds_per_step > 0
    measure(network, recipe.with_settings(epochs=64 * recipe.epochs), said)
    assert len(said) == 3  # a longer run is worth a better measurement


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system counts no waiting")
@pytest.mark.usefixtures("busy")
def test_on_a_busy_machine_the_work_is_compared_and_nothing_remembered(
    small: Recipe, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # who has set them has chosen the threads
        monkeypatch.delenv(name, raising=False)
    threads = 2
    torch.set_num_threads(threads)
    # shallow: in every layer the two wait for each other
    network = ResNet(BasicBlock, (1,), (16,), num_classes=2, stem="small", stem_channels=16)
    measured = measure(network, small.with_settings(precision="auto"))
    assert measured.busy
    known = CANDIDATES if multiplies_bf16() else ("fp32", "fp32+channels_last")
    assert set(measured.images_per_second) == set(known)
    assert measured.threads in (1, threads)
    assert torch.get_num_threads() == threads
    assert "busy" in str(measured)
    assert not list(own_cache.rglob("precision.json"))
    by_hand = measure(network, small.with_settings(precision="bf16"))
    assert by_hand.threads == threads  # who says what to compute with gets the same bits, busy or not


@pytest.mark.usefixtures("quiet")
def test_a_format_that_trains_otherwise_is_not_chosen_however_fast(
    small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.training.timing.autotune.multiplies_bf16", lambda: True)

    class Wrong(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            wrong = 9.0 if x.dtype == torch.bfloat16 else 0.0
            return self.fc(x.mean((2, 3))) + torch.tensor([-wrong, wrong])

    measured = measure(Wrong(), small.with_settings(precision="auto"))
    assert measured.precision.startswith("fp32")


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("has_it", [True, False])
def test_a_format_that_the_processor_lacks_is_not_tried(
    has_it: bool, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.training.timing.autotune.multiplies_bf16", lambda: has_it)
    network, seen, said = cifar_resnet20(num_classes=2), set(), list[str]()
    network.conv1.register_forward_hook(lambda module, images, output: seen.add(output.dtype))
    measure(network, small.with_settings(precision="auto"), said)
    assert seen == ({torch.float32, torch.bfloat16} if has_it else {torch.float32})
    measure(network, small.with_settings(precision="bf16"), said)
    assert ("lacks bf16" in said[-1]) == (not has_it)


@pytest.mark.parametrize("precision", CANDIDATES)
def test_a_trial_updates_in_the_format_of_the_precision_as_the_training_does(
    precision: str, small: Recipe, photo_folder: Callable[..., Path]
) -> None:
    recipe = small.with_settings(optimizer="muon", precision=precision)
    network, dtype = cifar_resnet20(num_classes=2), parse_precision(precision).dtype
    trial = TimedSteps(network, recipe, parse_precision(precision), CPU)
    prepared = prepare(network, Photos(photo_folder(train=10)), recipe, progress=False)
    for optimizer in (trial.optimizer, prepared.state.optimizer):
        assert isinstance(optimizer, Muon)
        assert optimizer.dtype == dtype


@pytest.mark.parametrize("precision", CANDIDATES)
def test_what_is_asked_for_by_hand_is_what_is_done(small: Recipe, precision: str) -> None:
    measured = measure(cifar_resnet20(num_classes=2), small.with_settings(precision=precision))
    assert measured.precision == precision
    assert str(measured) == f"precision {precision}"


def test_network_gradients_modes_and_random_state_stay(small: Recipe) -> None:
    network = cifar_resnet20(num_classes=2)
    network.layer1.eval()
    network(torch.zeros(2, 3, 16, 16)).sum().backward()
    before = copy.deepcopy(network)
    gradients = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    state = torch.get_rng_state()
    measure(network, small.with_settings(precision="auto"))
    assert torch.equal(torch.get_rng_state(), state)
    for (name, old), new in zip(before.state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.equal(old, new), name
    for parameter, old in zip(network.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, old)
    assert [m.training for m in before.modules()] == [m.training for m in network.modules()]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"a": {}}', '{"a": {"precision": "fp8", "seconds_per_step": 1}}',
        '{"a": {"precision": "fp32", "seconds_per_step": "soon"}}', "\udce9",
        '{"a": {"precision": "fp32", "seconds_per_step": NaN}}',
        '{"a": {"precision": "fp32", "seconds_per_step": 1, "threads": 1000000}}',
    ],
)  # fmt: skip
def test_a_broken_memory_is_passed_over_and_mended(content: str, small: Recipe, own_cache: Path) -> None:
    measure(cifar_resnet20(num_classes=2), small)
    (memory,) = own_cache.rglob("precision.json")
    memory.write_text(content, errors="surrogateescape")
    measured = measure(cifar_resnet20(num_classes=2), small)
    assert [value["precision"] for value in json.loads(memory.read_text()).values()] == [measured.precision]


@pytest.mark.usefixtures("quiet")
def test_what_a_killed_process_was_about_to_remember_goes(small: Recipe, own_cache: Path) -> None:
    measure(cifar_resnet20(num_classes=2), small)
    (memory,) = own_cache.rglob("precision.json")
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE)
    (memory.parent / f".precision.json.{_place()}-{int(dead.stdout)}-0123.xabc123_.tmp").write_text("{")
    measure(cifar_resnet20(num_classes=2), small)
    assert list(memory.parent.glob(".*")) == []


def test_a_memory_that_cannot_be_written_costs_nothing_but_time(
    small: Recipe, small_disk: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk("ro")))
    assert measure(cifar_resnet20(num_classes=2), small).precision == "fp32"


@pytest.mark.usefixtures("quiet")
def test_the_choice_is_recorded_and_a_second_start_makes_the_same(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos, recipe = photo_folder(train=20), small.with_settings(precision="auto", epochs=1)
    runs = [
        reslab.train(photos, "cifar_resnet20", recipe, run=tmp_path / name, progress=False, say=str)
        for name in "ab"
    ]
    first, second = (run.about["measured"] for run in runs)
    assert first == second
    assert first["precision"] in CANDIDATES
    assert torch.equal(*(run.classifier.network.fc.weight for run in runs))


def test_an_unknown_precision_is_answered_before_a_photo_is_decoded(
    small: Recipe, photo_folder: Callable[..., Path], own_cache: Path
) -> None:
    photos = Photos(photo_folder(train=10))
    with pytest.raises(RecipeError, match="did you mean 'bf16'"):
        prepare(cifar_resnet20(num_classes=2), photos, small.with_settings(precision="fp16"), progress=False)
    assert not list(own_cache.rglob("pixels/*"))


@pytest.mark.parametrize("wrong", [{"precision": "fp16"}, {"device": "abacus"}])
def test_what_cannot_be_computed_with_is_answered_before_a_photo_is_looked_for(
    wrong: dict[str, str], small: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong.values()))):
        reslab.train(tmp_path / "no photos", "resnet18", small.with_settings(**wrong), run=tmp_path / "run")


@pytest.mark.usefixtures("quiet")
def test_networks_that_differ_in_their_blocks_alone_are_measured_each(small: Recipe, own_cache: Path) -> None:
    recipe = small.with_settings(precision="fp32")
    without = partial(reslab.BasicBlock, shortcut="A")  # a shortcut without weights, and none at all
    networks = [cifar_resnet20(num_classes=2, block=block) for block in (without, reslab.PlainBlock)]
    assert len({sum(p.numel() for p in network.parameters()) for network in networks}) == 1
    for network in networks:
        measure(network, recipe)
    (memory,) = own_cache.rglob("precision.json")
    assert len(json.loads(memory.read_text())) == 2


@pytest.mark.parametrize("optimizer", ["muon", "sgd", "adamw"])
def test_a_candidate_at_rest_holds_its_weights_alone_and_goes_on(small: Recipe, optimizer: str) -> None:
    recipe = small.with_settings(optimizer=optimizer)
    trial = TimedSteps(cifar_resnet20(num_classes=2), recipe, CANDIDATES["fp32"], CPU)
    images = torch.rand(4, 3, 16, 16)
    first = trial.step(images, 4)[1]
    assert len(trial.optimizer.state) > 0
    trial.rest()
    assert len(trial.optimizer.state) == 0
    assert all(parameter.grad is None for parameter in trial.network.parameters())
    assert trial.step(images, 4)[1] == pytest.approx(first, abs=0.05)
