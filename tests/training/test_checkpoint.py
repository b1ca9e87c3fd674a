"""A checkpoint comes back whole or is refused; bits that were lost on the disk are noticed."""

import io
import random
import shutil
from pathlib import Path

import pytest
import torch

from reslab import Recipe, Run, resume
from reslab.errors import RunError


@pytest.fixture
def open_run(finished: Run, tmp_path: Path) -> Run:
    """A copy of a run that has everything but its result."""
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    return Run(tmp_path / "run")


def refusal(run: Run, content: bytes | None) -> RunError:
    path = run.folder / "checkpoint"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        resume(run, progress=False, say=str)
    return caught.value


def test_what_is_no_checkpoint_is_answered(open_run: Run) -> None:
    path = open_run.folder / "checkpoint"
    good = path.read_bytes()
    others = io.BytesIO(), io.BytesIO()
    torch.save([1], others[0])
    torch.save({"version": 7}, others[1])
    for content in (b"", b"no checkpoint", good[:1000], good[:-30], others[0].getvalue()):
        error = refusal(open_run, content)
        assert error.what == f"{path} cannot be read"
        assert error.why
        assert "\n" not in error.why
    assert "has version 7, this reslab reads 2" in str(refusal(open_run, others[1].getvalue()))
    assert "has no checkpoint" in str(refusal(open_run, None))
    path.write_bytes(good)
    assert resume(open_run, progress=False, say=str).state == "finished"


def test_a_changed_byte_is_refused_or_is_of_no_weight(open_run: Run) -> None:
    path, dice, refused = open_run.folder / "checkpoint", random.Random(0), 0
    good = path.read_bytes()
    expected = torch.load(io.BytesIO(good), weights_only=True)["network"]
    for place in [dice.randrange(len(good)) for _ in range(40)]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
        try:
            resume(open_run, progress=False, say=str)
        except RunError as error:
            assert "cannot be read" in error.what  # noqa: PT017
            refused += 1
        else:
            now = torch.load(path, weights_only=True)["network"]
            assert all(torch.equal(now[name], expected[name]) for name in expected)
            (open_run.folder / "result.json").unlink()
    assert refused > 25


def test_a_checkpoint_of_another_network_or_recipe_does_not_fit(open_run: Run) -> None:
    settings = open_run.recipe.with_settings(optimizer="adam", learning_rate=0.01, weight_averaging=0.9)
    settings.save(open_run.folder / "recipe.json")
    with pytest.raises(RunError, match="does not fit this run") as caught:
        resume(open_run, progress=False, say=str)
    assert "start a new run" in caught.value.do


def test_nothing_in_a_checkpoint_is_executed(open_run: Run, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch.__call__, (tmp_path / "harm",)  # type: ignore[return-value]

    buffer = io.BytesIO()
    torch.save({"version": 1, "network": Evil()}, buffer)
    assert "cannot be read" in refusal(open_run, buffer.getvalue()).what
    assert not (tmp_path / "harm").exists()


def test_the_recipe_of_a_run_is_that_of_its_start(finished: Run) -> None:
    assert finished.recipe == Recipe(
        epochs=2, size=16, resize=18, batch_size=8, precision="fp32", seed=3, cache=False
    )
