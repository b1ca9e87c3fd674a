"""Make every system call of a short training fail once, resume it each time, and count the losses.

    python benchmarks/faults.py [--every 1]

Call N of open, write, fsync, rename and mkdir in the run and its cache fails with ENOSPC, EIO and EACCES,
by a shim (tests/rough_machine.c; needs Linux and a C compiler). After each: an error message without a
traceback, the previous checkpoint whole, and after `resume` the weights of the undisturbed run and no
temporary files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fault_trials import faults
from rough_machine import ready

from reslab.text import table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only each so many-th of all faults [1]")
    chosen = parser.parse_args()
    started, counted, wrong, shown = time.monotonic(), Counter[tuple[str, str, str]](), 0, set[str]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        machine = ready(folder)
        if isinstance(machine, str):
            sys.exit(machine)
        with machine:
            for fault in faults(machine, folder, chosen.every):
                counted[fault.kind, fault.error, fault.outcome] += 1
                wrong += bool(fault.wrong)
                if fault.message not in shown or fault.wrong:
                    line = f"{fault.kind} {fault.number} {fault.error}: {fault.message}"
                    print(f"{line}\n{fault.wrong or ''}", flush=True)
                shown.add(fault.message)
    rows = [[*key, str(times)] for key, times in sorted(counted.items())]
    print(table(["call", "error", "outcome", "times"], rows, "lllr"))
    print(f"\n{sum(counted.values())} faults in {time.monotonic() - started:.0f} s; wrong: {wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
