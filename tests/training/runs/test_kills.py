"""A training that is killed at any instant goes on to the bits of the undisturbed one."""

import re
from pathlib import Path

import pytest
from kill_trials import deaths
from rough_machine import RoughMachine


@pytest.mark.slow
def test_thirty_kills_cost_no_bit_no_more_than_an_interval_and_leave_nothing(
    machine: RoughMachine, tmp_path: Path
) -> None:
    seen = list(deaths(machine, tmp_path, 30))
    assert len(seen) == 30
    assert [death for death in seen if not death.same] == []
    assert [death for death in seen if death.left] == []
    assert [death for death in seen if not 0 <= death.repeated <= death.interval] == []
    assert sum(death.place.startswith("in a write of") for death in seen) >= 7
    assert len({death.place for death in seen}) > 3


def test_what_a_killed_start_left_goes_with_the_next_start(machine: RoughMachine, tmp_path: Path) -> None:
    """A name that is made up of the time is never used again: those leftovers go with any next start."""
    from kill_trials import RECIPE
    from rough_machine import KINDS, kill, wait_until

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
    assert re.fullmatch(rf"\.run\.\w+-{process}-\w+\.tmp", left.name)
    left.rename(root / left.name.replace("run", "another"))
    (root / ".mine.1234567.tmp").mkdir()  # somebody's own: no run is in it
    assert machine.run(root, RECIPE) == 0
    assert sorted(path.name for path in root.iterdir()) == [".mine.1234567.tmp", "cache", "run"]
