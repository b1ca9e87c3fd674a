"""atheris, which looks for ways through the code, on the decoder's wrapper: only a PhotosError may come out.

    python benchmarks/fuzz_atheris.py FOLDER -max_total_time=180

FOLDER takes what it learns, begun with small photos of every format; further arguments are libFuzzer's. The
C libraries below are not instrumented, but what they do wrong still ends the process.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

with atheris.instrument_imports(include=["PIL", "reslab.photos", "pillow_heif"]):
    from damage import whole_photos

    from reslab.errors import PhotosError
    from reslab.photos.decode import decode


def one_input(content: bytes) -> None:
    for truncated in ("refuse", "keep"):
        with contextlib.suppress(PhotosError):
            assert decode(content, truncated=truncated).mode == "RGB"  # type: ignore[arg-type]


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, (kind, content) in enumerate(whole_photos()):
        (folder / f"{number}.{kind.lower()}").write_bytes(content)
    atheris.Setup([*sys.argv, "-rss_limit_mb=2048", "-timeout=10", "-max_len=40000"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
