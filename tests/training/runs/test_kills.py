"""Kill a training at any instant: after a resume it has the weights of an uninterrupted run."""

import os
import time
from pathlib import Path

import pytest
from kill_trials import RECIPE, deaths
from rough_machine import KINDS, RoughMachine, kill, wait_until

from reslab.files import UNFINISHED_MAX_AGE_S


@pytest.mark.slow
def test_thirty_kills_repeat_at_most_one_interval_and_leave_no_file(
    machine: RoughMachine, tmp_path: Path
) -> None:
    found = list(deaths(machine, tmp_path, 30))
    assert len(found) == 30
    assert [death for death in found if not death.same] == []
    assert [death for death in found if death.left] == []
    assert [death for death in found if not 0 <= death.repeated <= death.interval] == []
    assert sum(death.place.startswith("in a write of") for death in found) >= 7
    assert len({death.place for death in found}) > 3


@pytest.mark.slow
def test_a_later_start_removes_what_a_killed_one_left(machine: RoughMachine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    process = machine.start(root, RECIPE, slow=4000)
    writes, renames = KINDS.index("write"), KINDS.index("rename")
    assert wait_until(
        lambda: b"checkpoint" in machine.page.path and machine.page.inside == 1 + writes, process
    )
    kill(process)
    assert machine.wait() == -9
    assert machine.page.counts[renames] > 0
    [left] = [path for path in root.iterdir() if path.name != "cache"]
    assert left.name.startswith(".run.")
    os.utime(left, (0, time.time() - 2 * UNFINISHED_MAX_AGE_S))
    assert machine.run(root, RECIPE) == 0
    assert sorted(path.name for path in root.iterdir()) == ["cache", "run"]
