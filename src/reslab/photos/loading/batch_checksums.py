"""Checksums of training batches in a file: the proof that two trainings were shown the same images."""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .batches import Batch, Batches
from .replacements import Replacements

BYTES_PER_STEP = 4


@dataclass(frozen=True)
class ChecksummedBatches(Batches):
    """Batches that write the CRC-32 of each batch to a file: images and labels as the network gets them.

    Step s of epoch e has its own place in the file, so a resumed training completes the same file.

    Args:
        file: the file; it is created if it is missing.
    """

    file: Path = Path("batches.crc32")

    def epoch(
        self,
        epoch: int = 0,
        first_step: int = 0,
        *,
        size: int | None = None,
        replacements: Replacements | None = None,
    ) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch as `Batches.epoch` does, each after its checksum was written."""
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0))
        batches = super().epoch(epoch, first_step, size=size, replacements=replacements)
        try:
            with closing(batches):
                for step, batch in enumerate(batches, epoch * len(self) + first_step):
                    os.lseek(descriptor, BYTES_PER_STEP * step, os.SEEK_SET)
                    os.write(descriptor, checksum(batch).to_bytes(BYTES_PER_STEP, "little"))
                    yield batch
        finally:
            os.close(descriptor)


def checksum(batch: Batch) -> int:
    """Return the CRC-32 of a batch's images, by their values in the order (N, H, W, C), and labels."""
    images = batch.images.permute(0, 2, 3, 1).cpu().contiguous()  # without a copy if channels are last
    return zlib.crc32(batch.labels.cpu().numpy().data, zlib.crc32(images.numpy().data))


def read_checksums(file: Path) -> NDArray[np.uint32]:
    """Return the checksums of the steps that were shown so far, (steps,); empty without the file."""
    return np.fromfile(file, "<u4") if file.is_file() else np.empty(0, np.uint32)
