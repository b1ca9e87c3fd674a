"""How a network computes as one value: number format, memory layout, and whether its step is compiled.

fp32, bf16, fp32+channels_last, bf16+channels_last; any of them with +compiled behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from reslab.errors import RecipeError, nearest


@dataclass(frozen=True)
class Precision:
    """How a network computes. bf16 is autocast: weights, batch norm statistics and the loss stay in fp32.
    Muon's matrix products are in the same format.

    Compiled is the forward and backward pass of a training step alone: where a network is measured, saved or
    averaged, it is the module that it always was.
    """

    number_format: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.number_format not in ("fp32", "bf16"):
            raise RecipeError(
                f"there is no number format '{self.number_format}'",
                "fp16 would need its loss scaled, and bf16 does not",
                "use 'fp32' or 'bf16'",
            )

    def __str__(self) -> str:
        layout, step = "+channels_last" * self.channels_last, "+compiled" * self.compiled
        return self.number_format + layout + step

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.number_format == "fp32" else torch.bfloat16

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
        return torch.autocast(device.type, self.dtype)

    def forward(self, network: nn.Module, batch_size: int) -> Callable[[Tensor], Tensor]:
        """images -> logits for training steps: the network itself, or compiled for batches of this size.

        A batch of another size, as the last of an epoch may be, goes through the network itself: to compile
        that, too, takes longer than it saves. Forward and backward pass are compiled when they first run.
        """
        if not self.compiled:
            return network
        compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)

        def forward(images: Tensor) -> Tensor:
            chosen = compiled if len(images) == batch_size else network
            logits: Tensor = chosen(images)
            return logits

        return forward

    @contextmanager
    def compiling_answered(self) -> Iterator[None]:
        """Turns the failure to compile a pass that runs inside the block into a RecipeError."""
        try:
            yield
        except RuntimeError as error:
            if not self.compiled:
                raise
            from torch._dynamo.exc import TorchDynamoException  # two seconds, and seldom needed

            if not isinstance(error, TorchDynamoException):
                raise
            raise RecipeError(
                f"the training step cannot be compiled here, as precision {self} asks",
                " ".join(str(error).partition("Set TORCHDYNAMO_VERBOSE")[0].split())[:300],
                f"use precision {replace(self, compiled=False)}, or install what compiling takes: a C++ "
                "compiler, on a GPU also Triton",
            ) from error


FP32 = Precision()
CANDIDATES = {str(p): p for p in (FP32, Precision("bf16"), Precision("fp32", True), Precision("bf16", True))}
PRECISIONS = CANDIDATES | {str(p): p for p in (replace(p, compiled=True) for p in CANDIDATES.values())}


def parse_precision(text: str) -> Precision:
    """The Precision of its name. Raises RecipeError for a name that is none."""
    if text not in PRECISIONS:
        raise RecipeError(
            f"there is no precision '{text}'",
            "it is a number format, with or without a memory layout, compiled or not",
            nearest(text, [*PRECISIONS, "auto"]),
        )
    return PRECISIONS[text]
