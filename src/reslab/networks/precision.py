"""A number format and a memory layout as one value: fp32, bf16, fp32+channels_last, bf16+channels_last."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import RecipeError, nearest


@dataclass(frozen=True)
class Precision:
    """How a network computes. bf16 is autocast: weights, batch norm statistics and the loss stay in fp32."""

    number_format: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.number_format not in ("fp32", "bf16"):
            raise RecipeError(
                f"there is no number format '{self.number_format}'",
                "fp16 would need its loss scaled, and bf16 does not",
                "use 'fp32' or 'bf16'",
            )

    def __str__(self) -> str:
        return self.number_format + ("+channels_last" if self.channels_last else "")

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Moves the weights to the device and into this layout, in place."""
        return network.to(device=device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def place_images(self, images: Tensor, device: torch.device) -> Tensor:
        """Images (N, C, H, W) on the device and in this layout."""
        return images.to(device, non_blocking=True).contiguous(memory_format=self.memory_format)

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which the forward pass runs."""
        if self.number_format == "fp32":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)


FP32 = Precision()
CANDIDATES = {str(p): p for p in (FP32, Precision("bf16"), Precision("fp32", True), Precision("bf16", True))}


def parse_precision(text: str) -> Precision:
    """The Precision of its name. Raises RecipeError for a name that is none."""
    if text not in CANDIDATES:
        raise RecipeError(
            f"there is no precision '{text}'",
            "it is a number format with or without a memory layout",
            nearest(text, [*CANDIDATES, "auto"]),
        )
    return CANDIDATES[text]
