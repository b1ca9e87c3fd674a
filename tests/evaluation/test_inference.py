"""Exact prediction: every photo once and in order, and the network is unchanged afterwards."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reslab.errors import PhotosError
from reslab.evaluation.inference import batch_size_for, decode_ahead, evaluating, predict_logits
from reslab.networks.precision import Precision
from reslab.networks.registry import NetworkSpec
from reslab.photos.loading.preprocess import Preprocess

CPU = torch.device("cpu")
PREPROCESS = Preprocess(size=32, resize=36)


def mixed() -> nn.Module:
    """A network whose modules are in different modes, as one with frozen layers is."""
    torch.manual_seed(0)
    network = NetworkSpec("cifar_resnet20", 2, 3).build().train()
    for i, module in enumerate(network.modules()):
        module.training = i % 3 != 1
    return network


def state_of(network: nn.Module) -> list[object]:
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return [
        [module.training for module in network.modules()],
        [len(module._forward_hooks) for module in network.modules()],
        [(p.requires_grad, p.grad is None) for p in network.parameters()],
        {name: tensor.tolist() for name, tensor in tensors.items()},
    ]


def batches(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(4, 3, 32, 32, generator=generator) for _ in range(count)]


def test_predicting_keeps_modes_hooks_gradients_and_statistics() -> None:
    network = mixed()
    network.get_submodule("layer1").register_forward_hook(lambda *_: None)
    before, random = state_of(network), torch.get_rng_state()
    list(predict_logits(network, batches(), CPU))
    assert state_of(network) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()


def test_every_module_predicts_in_eval_mode_without_gradients() -> None:
    network = mixed()
    seen: list[tuple[bool, bool]] = []
    for module in network.modules():
        module.register_forward_hook(lambda m, *_: seen.append((m.training, torch.is_grad_enabled())))
    rows = list(predict_logits(network, batches(), CPU))
    assert set(seen) == {(False, False)}
    assert not any(row.requires_grad for row in rows)


@pytest.mark.slow
def test_modes_are_restored_when_the_network_fails() -> None:
    network = mixed()
    before = state_of(network)
    with pytest.raises(RuntimeError):
        list(predict_logits(network, [torch.rand(2, 5, 32, 32)], CPU))
    assert state_of(network) == before
    with pytest.raises(KeyError), evaluating(network):
        raise KeyError
    assert state_of(network) == before
    assert torch.is_grad_enabled()


def test_modes_are_restored_between_batches_and_after_an_early_close() -> None:
    network = mixed()
    before = state_of(network)
    rows = predict_logits(network, batches(), CPU)
    next(rows)
    assert state_of(network) == before
    assert torch.is_grad_enabled()
    assert isinstance(rows, Iterator)
    rows.close()  # type: ignore[attr-defined]
    assert state_of(network) == before


def test_the_logits_equal_those_of_a_direct_call() -> None:
    network = mixed()
    found = torch.cat(list(predict_logits(network, batches(), CPU)))
    network.eval()
    with torch.no_grad():
        expected = torch.cat([network(batch) for batch in batches()])
    assert torch.equal(found, expected)


def test_bf16_gives_float32_logits_close_to_those_of_fp32() -> None:
    network = mixed()
    exact, bf16 = (
        torch.cat(list(predict_logits(network, batches(1), CPU, p))) for p in (Precision(), Precision("bf16"))
    )
    assert bf16.dtype == torch.float32
    assert not torch.equal(exact, bf16)
    assert torch.allclose(exact, bf16, atol=0.1)


def test_photos_are_decoded_in_order_with_errors_in_place(photo_folder: Callable[..., Path]) -> None:
    good = sorted(photo_folder(train=7).rglob("*.jpg"))
    photos: list[Path | bytes] = [*good[:3], Path("missing.jpg"), good[3].read_bytes(), b"no photo"]
    photos += good[4:]
    read = list(decode_ahead(photos, PREPROCESS, 4))
    assert [len(batch) for batch in read] == [4, 4, 1]
    for photo, item in zip(photos, [item for batch in read for item in batch], strict=True):
        if photo in (Path("missing.jpg"), b"no photo"):
            assert isinstance(item, PhotosError)
        else:
            assert torch.equal(item, PREPROCESS.evaluation(PREPROCESS.read(photo)))
            assert (item.dtype, item.shape) == (torch.uint8, (3, 32, 32))


def test_at_most_two_batches_are_decoded_ahead_and_threads_end(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = sorted(photo_folder(train=20).rglob("*.jpg"))
    threads, seen = threading.active_count(), []
    original = Preprocess.read
    monkeypatch.setattr(Preprocess, "read", lambda self, photo: seen.append(photo) or original(self, photo))
    read = decode_ahead(photos, PREPROCESS, 4)
    next(read)
    read.close()  # type: ignore[attr-defined]
    assert set(photos[:4]) <= set(seen) <= set(photos[:8])
    assert threading.active_count() == threads


def test_no_photos_give_no_batches() -> None:
    assert list(decode_ahead([], PREPROCESS, 4)) == []


@given(size=st.integers(1, 100_000), largest=st.integers(1, 512))
def test_a_batch_of_larger_images_has_no_more_pixels(size: int, largest: int) -> None:
    count = batch_size_for(size, largest)
    assert count == largest if size <= 224 else count == 1 or count * size**2 <= largest * 224**2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the size of a process from /proc")
def test_too_little_memory_gives_a_classifier_error() -> None:
    """A process limited to 700 MB more, and an image that needs several times as much."""
    code = """
import resource, torch, reslab
from PIL import Image
def predict(size):
    look, network = reslab.Preprocess(size=size, resize=size), reslab.cifar_resnet20(num_classes=2)
    return reslab.Classifier(network, ("cat", "dog"), look, device="cpu").predict(Image.new("RGB", (64, 64)))
predict(32)  # imports all there is
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    predict(2048)
except reslab.ReslabError as error:
    print(type(error).__name__, error)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("ClassifierError there is not enough memory for 1 photos of 2048 pixels"), (
        done.stderr
    )
