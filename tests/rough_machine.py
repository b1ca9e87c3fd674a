"""Fault injection: system calls that fail, slow writes, and killed processes, all of them real.

`RoughMachine` is a process that has imported everything and forks a child for every task, under the shim
rough_machine.c. A `Page` controls what happens to the calls of the child below `root` (its run and cache).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from materials import make_photo

from reslab import locks
from reslab.files import UNFINISHED

KINDS = ("open", "write", "fsync", "rename", "mkdir")
TIMES = ("seconds", "images_per_second", "run", "model")
NETWORK = "cifar_resnet20"
SOURCE = Path(__file__).with_suffix(".c")


class Page(ctypes.Structure):
    """Settings and counters of the shim; the same layout as in rough_machine.c."""

    _fields_ = (
        ("counts", ctypes.c_int * len(KINDS)),
        ("kind", ctypes.c_int),
        ("number", ctypes.c_int),
        ("error", ctypes.c_int),
        ("slow", ctypes.c_int),
        ("chunk", ctypes.c_int),
        ("inside", ctypes.c_int),
        ("root", ctypes.c_char * 1024),
        ("path", ctypes.c_char * 1024),
    )


def compiled(folder: Path) -> Path | str:
    """Compile the shim. Return the library, or the reason why it cannot be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return "needs Linux and a C compiler, to make calls fail"
    library = folder / "rough_machine.so"
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"],
        capture_output=True,
        text=True,
    )
    return library if made.returncode == 0 else f"the C compiler cannot make the shim: {made.stderr[:200]}"


def ready(folder: Path) -> RoughMachine | str:
    """Start a machine in `folder`, with photos to train on. Return it, or the reason why it cannot start."""
    library = compiled(folder)
    return (
        library if isinstance(library, str) else RoughMachine(library, folder, few_photos(folder / "photos"))
    )


class RoughMachine:
    """Start children that train on `photos`, one at a time. `folder` holds the machine's own files."""

    def __init__(self, library: Path, folder: Path, photos: Path) -> None:
        self.folder, self.report_file = folder, folder / "report.json"
        (folder / "page").write_bytes(bytes(ctypes.sizeof(Page)))
        self.file = (folder / "page").open("r+b")
        self.page = Page.from_buffer(mmap.mmap(self.file.fileno(), 0))
        self.server = subprocess.Popen(
            [sys.executable, __file__, str(library), str(folder), str(photos)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"},
        )
        assert self.server.stdout is not None
        assert (
            self.server.stdout.readline() == "ready\n"
        )  # everything is imported, so that children are timed without it

    def __enter__(self) -> RoughMachine:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()

    def start(
        self,
        root: Path,
        recipe: dict[str, Any],
        *,
        fault: tuple[str, int, int] | None = None,
        slow: int = 0,
    ) -> int:
        """Start a child that trains or resumes `root`/run. Return its process id.

        Args:
            fault: (kind, number, errno) of the call that fails.
            slow: microseconds for every 64 KiB written.
        """
        root.mkdir(exist_ok=True)
        self.report_file.unlink(missing_ok=True)
        ctypes.memset(ctypes.addressof(self.page), 0, ctypes.sizeof(Page))
        self.page.root, self.page.slow, self.page.chunk = os.fsencode(root) + b"/", slow, 65536
        if fault is not None:
            self.page.kind, self.page.number, self.page.error = KINDS.index(fault[0]), *fault[1:]
        return int(self._ask({"root": str(root), "recipe": recipe}))

    def wait(self) -> int:
        """Wait for the child. Return its exit code, -9 if it was killed."""
        return int(self._ask({}))

    def run(self, *arguments: Any, **options: Any) -> int:
        """Start a child and wait for it."""
        self.start(*arguments, **options)
        return self.wait()

    def report(self) -> dict[str, Any]:
        """Return what the child reported: the lines it printed and the error that ended it."""
        return json.loads(self.report_file.read_text())

    def _ask(self, order: dict[str, Any]) -> str:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return self.server.stdout.readline()


def few_photos(folder: Path) -> Path:
    """Create 24 tiny photos to train on and 4 to test on: an epoch of three steps of eight."""
    for number in range(28):
        split = "train" if number < 24 else "test"
        label, color = (("blue", (60, 90, 170)), ("red", (170, 90, 60)))[number % 2]
        make_photo(folder / split / label / f"{number:03}.jpg", number, color, (24, 20))
    return folder


def has_ended(process: int) -> bool:
    """Check whether a child has ended, before it is waited for."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def run_results(run: Path) -> dict[str, Any]:
    """Return everything that a run leaves and that must be reproducible: all but times and paths."""
    import torch
    from safetensors.torch import load_file

    from reslab import Run
    from reslab.training.runs import checkpoint

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).numpy().tobytes()
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items() if key not in TIMES}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    found = Run(run)
    return {
        "metrics": plain(found.rows),
        "weights": plain(load_file(run / "model.safetensors")),
        "checkpoint": plain(checkpoint.read(run)[1]),
        "position": plain(checkpoint.read(run)[0].model_dump(exclude={"checksum"})),
        "result": plain(found.result),
        "recipe": found.recipe,
    }


def names(root: Path) -> set[str]:
    """List the files and folders below `root`, except those that may differ between two runs."""
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    return {
        name
        for name in found
        if name != "cache/reslab/precision.json"
        and not (name.startswith("cache/") and name.endswith((".lock", UNFINISHED)))
        and not (name.startswith(".run.") and UNFINISHED in name)  # removed after a day
        and not name.endswith(locks.OWNER)  # of a process killed after its last write
    }


def steps_done(root: Path) -> int:
    """Count the training steps of all children of this root."""
    return len((root.parent / f"{root.name}.steps").read_text())


def _serve(library: str, folder: Path, photos: Path) -> None:
    """Fork a child for every order, and wait for it when asked to."""
    import torch

    from reslab import Recipe, train

    torch.set_num_threads(1)
    once = Recipe(epochs=1, size=16, batch_size=8, precision="fp32", cache=False)
    train(photos, NETWORK, once, run=folder / "first", progress=False, say=str)  # imports everything
    shim, process = ctypes.CDLL(library), 0
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if not order:
            print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
            continue
        process = os.fork()
        if not process:
            _child(order, folder, photos, lambda: shim.rough_machine(os.fsencode(folder / "page")))
        print(process, flush=True)


def _child(order: dict[str, Any], folder: Path, photos: Path, arm: Callable[[], Any]) -> None:
    from reslab import Recipe, ReslabError, resume, train
    from reslab.training import loop

    root, report = Path(order["root"]), {"lines": []}
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    counter = os.open(root.parent / f"{root.name}.steps", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    train_step = loop.train_step

    def counted(*arguments: Any) -> Any:
        value = train_step(*arguments)
        os.write(counter, b".")
        return value

    loop.train_step = counted
    options = {"progress": False, "say": report["lines"].append}
    code = 1
    try:
        arm()
        if (root / "run" / "run.json").exists():
            resume(root / "run", **options)
        else:
            recipe = Recipe(**order["recipe"])
            train(photos, NETWORK, recipe, run=root / "run", **options)
        code = 0
    except ReslabError as error:
        report["error"], code = [error.what, error.why, error.do], 2
    except BaseException:  # noqa: BLE001
        report["traceback"] = traceback.format_exc()
    finally:
        (folder / "report.json").write_text(json.dumps(report))
        os._exit(code)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def wait_until(ready: Callable[[], bool], process: int) -> bool:
    """Wait until `ready()` is true. Return False if the child ends first."""
    while not ready():
        if has_ended(process):
            return False
        time.sleep(0.0003)
    return True


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
