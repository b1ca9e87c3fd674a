"""Decode damaged photos: each must give an image or an error, quickly and in little memory.

    python benchmarks/fuzz_photos.py 20000

The number of a photo decides its damage. It is written to a file, decoded as in a training, checked as by
`reslab check`, and decoded again with --truncated keep. The outcomes are counted by format and by Pillow's
error. A failure is anything but an image or a PhotosError, a check that disagrees, more than 5 s of
processor time, or more than 1 GiB above the start. With failures the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from damage import damaged, whole_photos

from reslab.errors import PhotosError
from reslab.photos.checking.photo_stats import compute_stats
from reslab.photos.decoding.decode import decode
from reslab.text import table

SECONDS, MIB = 5.0, 1024.0
HANGS = 120  # seconds after which a photo is taken to hang: every thread's stack is printed, and the end


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=20_000, help="damaged photos (20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--keep", type=Path, help="a folder for those that fail")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    chosen = parser.parse_args()
    found = fuzz(range(chosen.first, chosen.first + chosen.count), chosen.keep)
    print(json.dumps(found) if chosen.json else told(found))
    return int(bool(found["failures"]))


def fuzz(numbers: range, keep: Path | None) -> dict[str, Any]:
    photos = whole_photos()
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    kept, failures, slowest, largest = 0, [], (0.0, -1), (0.0, -1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        for _, content in photos:  # what is loaded on first use is no part of what a photo needs
            list(_verdicts(path, content))
        start = memory(reset=True)
        for number in numbers:
            kind, content = damaged(photos, number)
            faulthandler.dump_traceback_later(HANGS, exit=True)
            before = time.process_time()
            try:
                strict, looked, lenient = _verdicts(path, content)
                outcomes[kind, strict] += 1
                kept += strict != "read" == lenient
                fault = "" if (strict == "read") == (looked == "") else f"{strict}, and check: {looked}"
            except Exception:  # noqa: BLE001  what must not be
                fault = traceback.format_exc()
            used, peak = time.process_time() - before, memory(reset=True) - start
            faulthandler.cancel_dump_traceback_later()
            slowest, largest = max(slowest, (used, number)), max(largest, (peak, number))
            fault = fault or (f"{used:.1f} s" if used > SECONDS else f"{peak:.0f} MiB" if peak > MIB else "")
            if fault:
                failures.append({"number": number, "format": kind, "fault": fault})
                if keep:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{number}.{kind.lower()}").write_bytes(content)
    return {
        "photos": len(numbers),
        "outcomes": [[kind, outcome, count] for (kind, outcome), count in sorted(outcomes.items())],
        "kept": kept,
        "slowest": slowest,
        "largest": largest,
        "failures": failures,
    }


def _verdicts(path: Path, content: bytes) -> Iterator[str]:
    """Return the results of a training, a check and a training that keeps truncated photos."""
    path.write_bytes(content)
    yield _outcome(path, "refuse")
    yield compute_stats(path).problem
    yield _outcome(path, "keep")


def _outcome(path: Path, truncated: Any) -> str:
    try:
        image = decode(path, truncated=truncated)
    except PhotosError as error:
        return type(error.__cause__).__name__ if error.__cause__ else "refused by its bounds"
    assert image.mode == "RGB"
    image.tobytes()
    return "read"


def memory(reset: bool) -> float:
    """Return the peak memory in MiB since the last reset; 0 on systems other than Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def told(found: dict[str, Any]) -> str:
    kinds = sorted({kind for kind, _, _ in found["outcomes"]})
    counts = {(kind, outcome): count for kind, outcome, count in found["outcomes"]}
    totals: collections.Counter[str] = collections.Counter()
    for _, outcome, count in found["outcomes"]:
        totals[outcome] += count
    rows = [
        [outcome, *(str(counts.get((kind, outcome), "")) for kind in kinds), f"{total:,}"]
        for outcome, total in totals.most_common()
    ]
    lines = [table(["outcome", *kinds, "all"], rows, "l" + "r" * (len(kinds) + 1)), ""]
    lines += [f"{found['kept']:,} of those refused are read with truncated photos kept"]
    lines += ["slowest: {:.2f} s (number {})".format(*found["slowest"])]
    lines += ["most memory above the start: {:.0f} MiB (number {})".format(*found["largest"])]
    lines += [f"failures: {len(found['failures'])} of {found['photos']:,}"]
    lines += [f"  {row['number']} ({row['format']}): {row['fault']}" for row in found["failures"][:20]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
