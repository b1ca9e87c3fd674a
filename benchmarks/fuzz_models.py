"""Load damaged model and weights files: each must be refused with an error or give the saved tensors.

    python benchmarks/fuzz_models.py 20000

The number of a file decides its damage: flipped bits, bytes, cuts, the length and the JSON of the header,
offsets, shapes, extra and missing tensors, NaN and infinity, other networks, classes, sizes and versions;
in .pth files the bytes of the archive. A failure is anything but an equal file or a ReslabError that names
the file, more than 5 s of processor time, or more than 1 GiB above the start. With failures the exit code
is 1.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import io
import json
import random
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fuzz_photos import memory

import reslab
from reslab.errors import ReslabError
from reslab.networks.registry import NetworkSpec
from reslab.networks.weights.files import read_weights
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import table

SECONDS, MIB, HANGS = 5.0, 1024.0, 120
HUGE = (0, 1, -1, 2, 7, 2**31, 2**40, 2**63 - 1, -(2**63), 10**30, 1.5, "3", None, [], True)
NAMES = (
    "resnet18",
    "resnet152",
    "cifar_resnet110",
    "torchvision:vit_b_16",
    "os.system",
    "",
    "../x",
    "resnet18:plain",
)


def main() -> int:
    """Print the outcomes as a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=20_000, help="damaged files (20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = parser.parse_args()
    found = fuzz(range(chosen.first, chosen.first + chosen.count))
    if chosen.json:
        print(json.dumps(found))
    else:
        rows = [[kind, outcome, f"{count:,}"] for kind, outcome, count in found["outcomes"]]
        print(table(["file", "outcome", "count"], rows, "llr"))
        print("slowest: {:.2f} s (number {})".format(*found["slowest"]))
        print("most memory above the start: {:.0f} MiB (number {})".format(*found["largest"]))
        print(f"failures: {len(found['failures'])} of {found['files']:,}")
        for row in found["failures"][:20]:
            print(f"  {row['number']} ({row['change']}): {row['fault']}")
    return int(bool(found["failures"]))


def fuzz(numbers: range) -> dict[str, Any]:
    """Return the outcomes by kind of file."""
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    failures, slowest, largest = [], (0.0, -1), (0.0, -1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, weights = _whole(folder)
        good = {
            ".safetensors": _content(folder / "model.safetensors"),
            ".pth": _content(folder / "weights.pth"),
        }
        start = memory(reset=True)
        for number in numbers:
            draw = random.Random(number)
            suffix = draw.choice((".safetensors", ".safetensors", ".pth"))
            change = draw.choice(CHANGES + HEADERS if suffix == ".safetensors" else CHANGES)
            content = change(model if suffix == ".safetensors" else weights, draw)
            path = folder / f"damaged{suffix}"
            path.write_bytes(content)
            faulthandler.dump_traceback_later(HANGS, exit=True)
            before, fault = time.process_time(), ""
            try:
                outcome = "equal" if _equal(_content(path), good[suffix]) else "another"
                if outcome == "another":
                    fault = "read, and not as it was saved"
            except ReslabError as error:
                outcome = type(error).__name__
                fault = "" if path.name in str(error) else f"does not name the file: {error}"
            except Exception:  # noqa: BLE001  what must not be
                outcome, fault = "traceback", traceback.format_exc()
            used, peak = time.process_time() - before, memory(reset=True) - start
            faulthandler.cancel_dump_traceback_later()
            outcomes[suffix, outcome] += 1
            slowest, largest = max(slowest, (used, number)), max(largest, (peak, number))
            fault = fault or (f"{used:.1f} s" if used > SECONDS else f"{peak:.0f} MiB" if peak > MIB else "")
            if fault:
                failures.append({"number": number, "change": change.__name__, "fault": fault})
    return {
        "files": len(numbers),
        "outcomes": [[kind, outcome, count] for (kind, outcome), count in sorted(outcomes.items())],
        "slowest": slowest,
        "largest": largest,
        "failures": failures,
    }


def _whole(folder: Path) -> tuple[bytes, bytes]:
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", 3, 3)
    network, preprocess = spec.build(), Preprocess(size=32, resize=36)
    classifier = reslab.Classifier(network, ("cat", "dog", "狗"), preprocess, spec, 1.5, {"epoch": 3})
    classifier.save(folder / "model.safetensors")
    torch.save(network.state_dict(), folder / "weights.pth")
    return (folder / "model.safetensors").read_bytes(), (folder / "weights.pth").read_bytes()


def _content(path: Path) -> tuple[Any, ...]:
    """Return the content of a file as it is used."""
    if path.suffix == ".pth":
        return (dict(read_weights(path).tensors),)
    made = reslab.Classifier.load(path, device="cpu")
    fields = (made.classes, made.preprocess, made.spec, made.temperature, made.figures)
    return made.network.state_dict(), *fields


def _equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    same = one[1:] == other[1:] and one[0].keys() == other[0].keys()
    return same and all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())


def _flip_bits(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 3, 30))):
        changed[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, draw: random.Random) -> bytes:
    place, new = _place(content, draw), draw.randbytes(draw.choice((1, 4, 64)))
    return content[:place] + new + content[place + len(new) :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: _place(content, draw)]


def _drop(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + content[place + draw.choice((1, 4, 100)) :]


def _append(content: bytes, draw: random.Random) -> bytes:
    return content + draw.randbytes(draw.choice((1, 8, 5000)))


def _place(content: bytes, draw: random.Random) -> int:
    """Return a random place; often near an end, where headers and lists are."""
    near = min(len(content), 4096)
    return draw.choice(
        (draw.randrange(len(content)), draw.randrange(near), len(content) - 1 - draw.randrange(near))
    )


def _header(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Change the header of the file and correct its length."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _length(content: bytes, draw: random.Random) -> bytes:
    return struct.pack("<Q", draw.choice((0, 1, 8, 100, len(content), 2**32, 2**63, 2**64 - 1))) + content[8:]


def _tensor(content: bytes, draw: random.Random) -> bytes:
    """Change offsets, shape, type or name of a tensor."""

    def change(header: dict[str, Any]) -> None:
        name = draw.choice([name for name in header if name != "__metadata__"])
        what = draw.choice(("data_offsets", "shape", "dtype", "gone", "renamed", "twice"))
        if what == "gone":
            del header[name]
        elif what == "renamed":
            header[name + "x"] = header.pop(name)
        elif what == "twice":
            header[name + "2"] = header[name]
        elif what == "dtype":
            header[name][what] = draw.choice(("F16", "BF16", "F64", "I64", "BOOL", "F9", 3))
        else:
            values = header[name][what]
            if values:
                values[draw.randrange(len(values))] = draw.choice(HUGE)
            else:
                header[name][what] = [draw.choice(HUGE)]

    return _header(content, change)


def _model_header(content: bytes, draw: random.Random) -> bytes:
    """Change a field of the model's header."""

    def change(header: dict[str, Any]) -> None:
        fields = json.loads(header["__metadata__"]["reslab"])
        what = draw.choice([*fields, "name", "num_classes", "size", "resize", "std"])
        if what == "name":
            fields["network"]["name"] = draw.choice(NAMES)
        elif what == "num_classes":
            fields["network"]["num_classes"] = draw.choice(HUGE)
        elif what in ("size", "resize"):
            fields["preprocess"][what] = draw.choice(HUGE)
        elif what == "std":
            fields["preprocess"]["std"] = [draw.choice(HUGE)] * 3
        elif draw.random() < 0.3:
            del fields[what]
        else:
            fields[what] = draw.choice((*HUGE, "x" * 10**6, {"a": 1}, ["cat"], ["cat"] * 3, ["a"] * 10**5))
        header["__metadata__"]["reslab"] = json.dumps(fields)

    return _header(content, change)


def _numbers(content: bytes, draw: random.Random) -> bytes:
    """Put NaN and infinity among the weights."""
    length = struct.unpack("<Q", content[:8])[0]
    place = 8 + length + 4 * draw.randrange((len(content) - 8 - length) // 4)
    return (
        content[:place] + struct.pack("<f", draw.choice((float("nan"), float("inf")))) + content[place + 4 :]
    )


def _nested(content: bytes, draw: random.Random) -> bytes:
    depth = draw.choice((10, 1000, 200_000))
    text = b'{"a":' * depth + b"1" + b"}" * depth
    return struct.pack("<Q", len(text)) + text + content[-1000:]


def _pickled(content: bytes, draw: random.Random) -> bytes:
    """Replace the file by a pickle that would call something."""
    import pickle

    class Calls:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, ("raise SystemExit('executed')",)

    buffer = io.BytesIO()
    if draw.random() < 0.5:
        torch.save({"weight": Calls()}, buffer)
        return buffer.getvalue()
    return pickle.dumps(Calls())


CHANGES = [_flip_bits, _flip_bits, _overwrite, _cut, _drop, _append, _pickled]
HEADERS = [_length, _tensor, _tensor, _model_header, _model_header, _numbers, _nested]

if __name__ == "__main__":
    sys.exit(main())
