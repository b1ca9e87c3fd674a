"""Fuzz everything that reads untrusted files with atheris, guided by coverage.

    python benchmarks/fuzz_atheris.py decoder FOLDER -max_total_time=180

Only results and ReslabErrors may come out, within 10 s and 2 GB. Targets: decoder (photos), safetensors
(the header of a file of tensors), pickle (of a .pth file), model (the header of a model file), check-list
(a list of photos), recipe (JSON and TOML), run (every JSON of a run folder), checkpoint. FOLDER keeps the
corpus and starts with whole files; further arguments are libFuzzer's. Lengths and checksums in a file are
corrected after a change, and every other change of a JSON is one of a value. The C libraries below are not
instrumented, but their crashes still end the process.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(include=["PIL", "reslab", "pillow_heif", "tomllib", "zipfile", "pickle"]):
    import torch
    from damage import whole_photos
    from fuzz_runs import change_value
    from materials import make_photo
    from safetensors import safe_open

    import reslab
    from reslab import Recipe, Run
    from reslab.errors import ClassifierError, PhotosError, RecipeError, RunError, WeightsError
    from reslab.evaluation.model_file import read_model
    from reslab.networks.weights.files import read_weights
    from reslab.photos.checking.fix import fix
    from reslab.photos.decoding.decode import decode
    from reslab.photos.folder import list_file
    from reslab.training.runs import checkpoint as checkpoints
    from reslab.training.runs.checkpoint_schema import optimizer_state, restore_time_budget
    from reslab.untrusted import read_json

DATA = 64  # bytes of numbers behind a header
SCRATCH = Path(tempfile.mkdtemp(prefix="reslab-atheris-"))


def decoder(content: bytes) -> None:
    for truncated in ("refuse", "keep"):
        with contextlib.suppress(PhotosError):
            assert decode(content, truncated=truncated).mode == "RGB"  # type: ignore[arg-type]


def safetensors(content: bytes) -> None:
    path = SCRATCH / "file.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(DATA))
    with contextlib.suppress(WeightsError):
        assert all(type(tensor) is torch.Tensor for tensor in read_weights(path).tensors.values())


def pickled(content: bytes) -> None:
    """The pickle of an archive with numbers; or, by its first bytes, a file from before torch 1.6."""
    path = SCRATCH / "file.pth"
    path.write_bytes(content if content[:4] == b"\x80\x02\x8a\n" else _archive(content))
    with contextlib.suppress(WeightsError):
        assert all(type(tensor) is torch.Tensor for tensor in read_weights(path).tensors.values())


def model(content: bytes) -> None:
    path = SCRATCH / "model.safetensors"
    text = content.decode("utf-8", "surrogateescape")
    header = json.dumps({"__metadata__": {"reslab": text}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with contextlib.suppress(ClassifierError):
        assert read_model(path).header.classes


def check_list(content: bytes) -> None:
    path = SCRATCH / "photos" / "list.jsonl"
    path.write_bytes(content)
    with contextlib.suppress(PhotosError):
        assert list_file.read(path).splits


def recipe(content: bytes) -> None:
    for suffix in (".json", ".toml"):
        path = SCRATCH / f"recipe{suffix}"
        path.write_bytes(content)
        with contextlib.suppress(RecipeError):
            Recipe.load(path).save(path)


def run(content: bytes) -> None:
    """The same bytes as every JSON of a run folder at once."""
    folder = SCRATCH / "run"
    folder.mkdir(exist_ok=True)
    for name in ("run.json", "environment.json", "metrics.jsonl", "photos.jsonl", "result.json"):
        (folder / name).write_bytes(content)
    asked = ("about", "environment", "photos", "skipped", "rows", "best", "history", "result", "state")
    for name in asked:
        with contextlib.suppress(RunError):
            getattr(Run(folder), name)
    assert len(list(reslab.find_runs(folder))) == 1


def checkpoint(content: bytes) -> None:
    """A header with a checksum that matches."""
    with contextlib.suppress(ValueError, RecursionError):
        header = read_json(content)
        if isinstance(header, dict):
            checkpoints.write(SCRATCH, header, {"optimizer.0.momentum_buffer": torch.zeros(4)})
    with contextlib.suppress(RunError, ValueError):
        found, tensors = checkpoints.read(SCRATCH)
        restore_time_budget(found, Recipe(), 0.0)
        averages = {name.removeprefix("optimizer."): tensor for name, tensor in tensors.items()}
        optimizer_state(averages, "sgd", [torch.zeros(4)])


def _archive(program: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("data.pkl", program), ("data/0", bytes(DATA)), ("version", b"3\n")):
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def _program(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    with zipfile.ZipFile(file) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _tables() -> Iterable[bytes]:
    for tensors in (
        {"weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}},
        {
            "a": {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]},
            "b": {"dtype": "BF16", "shape": [2, 1, 8], "data_offsets": [32, 64]},
            "__metadata__": {"format": "pt"},
        },
    ):
        yield json.dumps(tensors).encode()


def _pickles() -> Iterable[bytes]:
    tensor = torch.zeros(16)
    yield _program({"weight": tensor, "bias": torch.nn.Parameter(tensor)})
    yield _program(
        {"state_dict": {"weight": tensor}, "epoch": 3, "best": 0.5, "note": "text", "more": [None]}
    )
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, file, _use_new_zipfile_serialization=False)
    yield file.getvalue()


def _models() -> Iterable[bytes]:
    from reslab import Classifier
    from reslab.networks.registry import NetworkSpec
    from reslab.photos.loading.preprocess import Preprocess

    spec = NetworkSpec("cifar_resnet20", 2, 3)
    Classifier(spec.build(), ("cat", "dog"), Preprocess(size=16, resize=20), spec).save(
        SCRATCH / "whole.safetensors"
    )
    with safe_open(SCRATCH / "whole.safetensors", "pt") as file:
        yield file.metadata()["reslab"].encode()


def _lists() -> Iterable[bytes]:
    folder = SCRATCH / "photos"
    for split, label, number in (
        ("train", "cat", 0),
        ("train", "dog", 1),
        ("val", "cat", 2),
        ("val", "dog", 3),
    ):
        make_photo(folder / split / label / f"{number}.jpg", number, (90, 90, 90))
    fix(reslab.check(folder), folder / "whole.jsonl")
    yield (folder / "whole.jsonl").read_bytes()


def _recipes() -> Iterable[bytes]:
    for name in ("fast", "paper", "tutorial"):
        for suffix in (".json", ".toml"):
            path = SCRATCH / f"whole{suffix}"
            Recipe.load(name).save(path)
            yield b" ".join(path.read_bytes().splitlines()) if suffix == ".json" else path.read_bytes()
    yield b'{"time": "1h30m", "schedule": "steps", "milestones": [0.5]}'


def _runs() -> Iterable[bytes]:
    about = {
        "network": "resnet18",
        "spec": {"name": "resnet18", "num_classes": 2, "in_channels": 3, "stem": None},
        "classes": ["cat", "dog"],
        "photos": "/photos",
        "skipped": {"count": 1, "splits": {"train": 1}, "first": [{"path": "a.jpg", "why": "it is empty"}]},
        "recipe": {"epochs": 3},
        "measured": {"precision": "fp32", "seconds_per_step": 0.1, "images_per_second": {"fp32": 10.0}},
        "started": "2026-01-01T00:00:00+00:00",
    }
    row = {
        "epoch": 1,
        "epochs": 1,
        "size": 32,
        "train_loss": 1.0,
        "val_loss": 1.0,
        "val_accuracy": 0.5,
        "seconds": 1,
    }
    result = {"model": "model.safetensors", "epochs": 1, "best_epoch": 1, "test_accuracy": None}
    photo = {"path": "a.jpg", "class": "cat", "label": 0, "split": "train", "digest": "0" * 32}
    for value in (about, row, result, photo, about | row | result | photo):
        yield json.dumps(value).encode()


def _checkpoints() -> Iterable[bytes]:
    plan = {"size": 32, "steps": 4, "start": 0.0, "end": 1.0, "epochs": 1, "seconds": 0.0}
    row = {"epoch": 1, "epochs": 1, "size": 32, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}
    row |= {"seconds": 1.0, "learning_rate": 0.1, "images_per_second": 9.0}
    header = {"version": 3, "epoch": 1, "step": 1, "images": 8, "loss_sum": 1.0, "seconds": 1.0}
    header |= {"learning_rates": [0.1], "plan": plan, "past_epochs": [plan], "epochs": [row]}
    header |= {"replacements": {"in_epoch": 0, "total": 1, "reasons": {"a.jpg": "gone"}}}
    yield json.dumps(header | {"time_budget": None}).encode()
    yield json.dumps(header | {"time_budget": {"spent": 1.0, "reserve": 1.0, "costs": {"32": 1.0}}}).encode()


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], Iterable[bytes]]]] = {
    "decoder": (decoder, lambda: (content for _, content in whole_photos())),
    "safetensors": (safetensors, _tables),
    "pickle": (pickled, _pickles),
    "model": (model, _models),
    "check-list": (check_list, _lists),
    "recipe": (recipe, _recipes),
    "run": (run, _runs),
    "checkpoint": (checkpoint, _checkpoints),
}


def changed(content: bytes, most: int, seed: int) -> bytes:
    """Return bytes changed by libFuzzer; every other time, in JSON, a changed value in one of its lines."""
    draw = random.Random(seed)
    lines = content.splitlines()
    if lines and draw.random() < 0.5:
        place = draw.randrange(len(lines))
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            value = json.loads(lines[place])
            change_value(value, draw)
            lines[place] = json.dumps(value).encode()
            return (b"\n".join(lines) + b"\n")[:most]
    return bytes(atheris.Mutate(content, most))


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS or sys.argv[2].startswith("-"):
        sys.exit(__doc__)
    one_input, seeds = TARGETS[sys.argv.pop(1)]
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds()):
        (folder / f"whole-{number}").write_bytes(content)
    limits = ["-rss_limit_mb=2048", "-timeout=10", "-max_len=40000"]
    atheris.Setup([*sys.argv, *limits], one_input, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
