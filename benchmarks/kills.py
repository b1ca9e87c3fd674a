"""Kill a short training many times, resume it each time, and count the losses.

    python benchmarks/kills.py [--count 200] [--seed 0]

Real processes and a real kill -9 at random moments. A quarter of them hit a write that a shim slows down
(tests/rough_machine.c; needs Linux and a C compiler). After each, the resumed run is compared with the
undisturbed one: its weights, the number of repeated steps, and the files left over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kill_trials import Death, deaths
from rough_machine import ready

from reslab.text import table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="kills [200]")
    parser.add_argument("--seed", type=int, default=0, help="of the instants, as far as clocks allow [0]")
    chosen = parser.parse_args()
    started, killed = time.monotonic(), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        machine = ready(folder)
        if isinstance(machine, str):
            sys.exit(machine)
        with machine:
            for death in deaths(machine, folder, chosen.count, chosen.seed):
                killed.append(death)
                again = f"{death.repeated} of {death.interval} steps repeated"
                print(f"{len(killed):4}  {death.place}, {again}", flush=True)
    report(killed, time.monotonic() - started)


def report(killed: list[Death], seconds: float) -> None:
    places = Counter(death.place for death in killed)
    print()
    print(table(["killed", "times"], [[place, str(times)] for place, times in places.most_common()], "lr"))
    print(f"\n{len(killed)} kills in {seconds:.0f} s")
    print(f"in a write: {sum(death.place.startswith('in a write') for death in killed)}")
    print(f"other weights than undisturbed: {sum(not death.same for death in killed)}")
    print(f"files left over: {sum(bool(death.left) for death in killed)}")
    for interval, name in ((1, "every step"), (3, "every epoch of 3 steps")):
        again = Counter(death.repeated for death in killed if death.interval == interval)
        listed = ", ".join(f"{steps} steps: {times} times" for steps, times in sorted(again.items()))
        print(f"a checkpoint after {name}: repeated {listed}")
    if any(not death.same or death.left or death.repeated > death.interval for death in killed):
        sys.exit(1)


if __name__ == "__main__":
    main()
