"""check, train, evaluate and predict name what they do not use in the same words."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from materials import make_photo


@pytest.mark.slow
def test_every_kind_of_entry_is_named_by_every_verb(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = photo_folder(train=20, test=8)
    cats = folder / "train/red"
    for name in ("a.svg", "b.svg", "c.mov", "README"):
        (cats / name).write_text("no photo")
    (cats / ".DS_Store").write_text("of the system")
    (folder / "labels.txt").write_text("no table")
    (cats / "gone.jpg").symlink_to("/nowhere/1.jpg")
    (folder / "train/green").symlink_to("/nowhere/green")  # a disk that is not mounted
    (cats / "loop.jpg").symlink_to("loop.jpg")
    (cats / "up").symlink_to("../../train")
    os.mkfifo(cats / "pipe.jpg")
    monkeypatch.chdir(cats)  # the name of a socket has at most 100 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
    make_photo(cats / "._1.jpg", 1, (9, 9, 9))
    make_photo(folder / ".thumbnails/1.jpg", 2, (9, 9, 9))
    expected = [
        "skipping links to a file or folder that is missing; is its disk mounted?: 2, "
        "train/green, train/red/gone.jpg",
        "skipping links that lead to themselves: 1, train/red/loop.jpg",
        "skipping pipes, sockets and devices: 2, train/red/pipe.jpg, train/red/socket.jpg",
        "skipping folders that another link has reached before: 1, train/red/up",
        "skipping hidden photos: 1, train/red/._1.jpg",
        "skipping hidden folders and system folders with photos: 1, .thumbnails",
        "skipping files that are no photos by their suffix: 2 .svg (train/red/a.svg), "
        "1 .mov (train/red/c.mov), 1 .txt (labels.txt) and 1 more suffix",
    ]
    run = tmp_path / "run"
    for arguments in (
        ["check", folder],
        ["train", folder, *small, "--run", run],
        ["evaluate", run / "model.safetensors", folder],
        ["predict", run, folder],
    ):
        code, out, err = reslab_here(*arguments)
        notes = [line.strip().removeprefix("note: ") for line in (out + err).splitlines() if "note: " in line]
        assert [note for note in notes if note in expected] == expected, arguments[0]
        assert code == 0
