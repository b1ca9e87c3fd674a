"""Compare backends from images to logits on one core: speed, error against fp32, and start-up time.

    reslab train photos --recipe finetune --run runs/first
    python benchmarks/backends.py photos/test runs/first
    python benchmarks/backends.py photos/test runs/first --size 224 --batch 64

The backends of `reslab predict`, ONNX Runtime and OpenVINO, where these are installed, on the same photos.
Measured in one thread: milliseconds of CPU time per photo (the least of the rounds, in turns), the largest
and the usual (root mean square) error of a logit, and the seconds of CPU time until the first result, which
include building the backend. CPU time depends little on the machine's other work.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reslab import Classifier
from reslab.evaluation.fast.backends import available_backends
from reslab.hardware import processor_name

Answer = Callable[[Tensor], Any]


def network_itself(network: nn.Module, images: Tensor) -> Answer:
    return network


def channels_last(network: nn.Module, images: Tensor) -> Answer:
    return next(available_backends(network, approximate=False)).predict


def bf16(network: nn.Module, images: Tensor) -> Answer:
    return next(available_backends(network, approximate=True)).predict


def onnxruntime(network: nn.Module, images: Tensor) -> Answer:
    import tempfile

    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "network.onnx")
        torch.onnx.export(network, (images,), path, dynamo=True, verbose=False)
        session = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images.numpy()})[0]


def openvino_fp32(network: nn.Module, images: Tensor) -> Answer:
    return _openvino(network, images, "f32")


def openvino_bf16(network: nn.Module, images: Tensor) -> Answer:
    return _openvino(network, images, "bf16")


def _openvino(network: nn.Module, images: Tensor, number_format: str) -> Answer:
    import openvino as library

    converted = library.convert_model(network, example_input=images)
    settings = {"INFERENCE_PRECISION_HINT": number_format, "INFERENCE_NUM_THREADS": 1}
    compiled = library.Core().compile_model(converted, "CPU", settings)
    return lambda images: compiled(images.numpy())[0].copy()


ENGINES: dict[str, tuple[Callable[[nn.Module, Tensor], Answer], list[str]]] = {
    "the network itself": (network_itself, []),
    "reslab, fp32 folded": (channels_last, []),
    "reslab, bf16": (bf16, []),
    "ONNX Runtime": (onnxruntime, ["onnxruntime", "onnxscript"]),
    "OpenVINO, fp32": (openvino_fp32, ["openvino"]),
    "OpenVINO, bf16": (openvino_bf16, ["openvino"]),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    classifier = Classifier.load(options.model, device="cpu")
    preprocess, network = classifier.preprocess.at(options.size), classifier.network
    photos = sorted(options.folder.rglob("*.jpg"))
    photos = photos[:: max(1, len(photos) // options.photos)][: options.photos]
    images = preprocess.normalize(
        torch.stack([preprocess.evaluation(preprocess.read(photo)) for photo in photos])
    )
    libraries = ["torch", *(name for name in ("onnxruntime", "openvino") if find_spec(name))]
    print(f"{processor_name()}, one thread; {', '.join(f'{name} {version(name)}' for name in libraries)}")
    print(f"{len(images)} photos, {classifier} at {preprocess.size} pixels, batches of {options.batch}")
    with torch.no_grad():
        _measure(network, images.split(options.batch), options.rounds)


def _measure(network: nn.Module, batches: Sequence[Tensor], rounds: int) -> None:
    expected = torch.cat([network(images) for images in batches])
    answers: dict[str, Answer] = {}
    built: dict[str, float] = {}
    for name, (make, needed) in ENGINES.items():
        if missing := [library for library in needed if not find_spec(library)]:
            print(f"{name} is left out: {', '.join(missing)} not installed")
            continue
        started = time.process_time()
        answers[name] = make(network, batches[0])
        answers[name](batches[0])
        built[name] = time.process_time() - started
    least = dict.fromkeys(answers, float("inf"))
    for _ in range(rounds):
        for name, answer in answers.items():
            least[name] = min([least[name], *_times(answer, batches)])
    print(
        f"largest logit {expected.abs().max():.2f}\n\n{'':20} ms a photo  largest error  usual  first answer"
    )
    for name, answer in answers.items():
        error = torch.cat([torch.as_tensor(answer(images)) for images in batches]) - expected
        largest, usual = float(error.abs().max()), float(error.square().mean().sqrt())
        print(f"{name:20} {1000 * least[name]:10.2f} {largest:14.1e} {usual:8.1e} {built[name]:9.2f} s")


def _times(answer: Answer, batches: Sequence[Tensor]) -> Iterator[float]:
    for images in batches:
        started = time.process_time()
        answer(images)
        yield (time.process_time() - started) / len(images)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="JPEGs, at any depth")
    parser.add_argument("model", type=Path, help="a run or a model file")
    parser.add_argument("--size", type=int, default=128, help="in pixels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--photos", type=int, default=256, help="a multiple of --batch")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.photos % options.batch:
        parser.error("--photos must be a multiple of --batch: ONNX Runtime computes batches of one size")
    return options


if __name__ == "__main__":
    main()
