"""Precision of a computation: number format, memory layout and compilation as one value.

Names: fp32, bf16, fp32+channels_last, bf16+channels_last; each also with +compiled at its end.
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
    """Number format, memory layout and compilation of a network's computation. `str` gives its name.

    Attributes:
        number_format: "fp32", or "bf16" for autocast: convolutions and matrix products in bfloat16, weights,
            batch norm statistics and the loss in float32. Muon's matrix products have the same format.
        channels_last: store weights and images (N, C, H, W) with the channels innermost.
        compiled: run the forward and backward pass of training steps through torch.compile. Validation,
            saving and averaging use the network itself.

    Raises:
        RecipeError: unknown number format.
    """

    number_format: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.number_format not in ("fp32", "bf16"):
            raise RecipeError(
                f"there is no number format '{self.number_format}'",
                "fp16 would need loss scaling, which bf16 does not",
                "use 'fp32' or 'bf16'",
            )

    def __str__(self) -> str:
        layout, step = "+channels_last" * self.channels_last, "+compiled" * self.compiled
        return self.number_format + layout + step

    @property
    def dtype(self) -> torch.dtype:
        """torch.float32 or torch.bfloat16."""
        return torch.float32 if self.number_format == "fp32" else torch.bfloat16

    @property
    def memory_format(self) -> torch.memory_format:
        """torch.channels_last or torch.contiguous_format."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Move the network to `device` and into the memory layout, in place. Return the same network."""
        return network.to(device=device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def place_images(self, images: Tensor, device: torch.device) -> Tensor:
        """Return images (N, C, H, W) on `device` and in the memory layout, copied only where needed."""
        return images.to(device, non_blocking=True).contiguous(memory_format=self.memory_format)

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return a context for the forward pass: torch.autocast for bf16, without effect for fp32."""
        if self.number_format == "fp32":
            return nullcontext()
        return torch.autocast(device.type, self.dtype)

    def forward(self, network: nn.Module, batch_size: int) -> Callable[[Tensor], Tensor]:
        """Return the function images (N, C, H, W) -> logits (N, num_classes) of training steps.

        It is the network itself unless `compiled` is set.

        Args:
            network: runs uncompiled for batches of another size, such as the last of an epoch: compiling
                for it takes longer than it saves.
            batch_size: N for which the network is compiled, when the function first runs.
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
    def convert_compile_errors(self) -> Iterator[None]:
        """Convert torch.compile's errors inside the block to RecipeError. All other errors pass through."""
        try:
            yield
        except RuntimeError as error:
            if not self.compiled:
                raise
            from torch._dynamo.exc import TorchDynamoException  # the import takes two seconds

            if not isinstance(error, TorchDynamoException):
                raise
            raise RecipeError(
                f"the training step cannot be compiled here, as precision {self} requires",
                " ".join(str(error).partition("Set TORCHDYNAMO_VERBOSE")[0].split())[:300],
                f"use precision {replace(self, compiled=False)}, or install what torch.compile needs: a C++ "
                "compiler, on a GPU also Triton",
            ) from error


FP32 = Precision()
UNCOMPILED = {str(p): p for p in (FP32, Precision("bf16"), Precision("fp32", True), Precision("bf16", True))}
PRECISIONS = UNCOMPILED | {str(p): p for p in (replace(p, compiled=True) for p in UNCOMPILED.values())}


def parse_precision(text: str) -> Precision:
    """Return the Precision of this name. Raise RecipeError for an unknown name, and for "auto"."""
    if text not in PRECISIONS:
        raise RecipeError(
            f"there is no precision '{text}'",
            "it is a number format, with or without a memory layout and compilation",
            nearest(text, [*PRECISIONS, "auto"]),
        )
    return PRECISIONS[text]
