"""Check a block in bf16 and channels_last, on another device, and as a copy or saved weights."""

from __future__ import annotations

import copy
import io

import torch

from reslab.networks.precision import UNCOMPILED

from .trial import SAME, BlockFailedError, Trial, difference, reason

MAX_DIFFERENCE = {"fp32": 1e-3, "bf16": 0.1}  # relative, of the output to that in fp32


def check_precisions(trial: Trial) -> list[str]:
    """Compare the output in bf16 and in channels_last with that in fp32, and compute gradients in each."""
    cpu = torch.device("cpu")
    expected = trial.run(trial.build_trained().eval(), trial.images()).output
    for name, precision in UNCOMPILED.items():
        module = precision.place(trial.build_trained(), cpu)
        images = precision.place_images(trial.images(), cpu)
        with precision.autocast(cpu):
            output = trial.run(module.eval(), images, during=f" in {name}").output
            trial.backward(module, images, during=f" in {name}")
        how_much = difference(output, expected)
        if not how_much <= MAX_DIFFERENCE[precision.number_format]:  # NaN fails, too
            raise trial.failed(
                f"the output in {name} is another than in fp32",
                "compute sums, exponentials and differences of large numbers in x.float()",
                shapes=f"the outputs {tuple(output.shape)} differ by {how_much:.1%}",
            )
    return []


def check_devices(trial: Trial) -> list[str]:
    """Run the block on device "meta", whose tensors mix with no others. A GPU is not needed."""
    try:
        trial.run(trial.build().to("meta"), trial.images().to("meta"), during=" on another device")
    except BlockFailedError as failed:
        if "expected device" in failed.problem.cause:  # else it asks for values, which "meta" does not have
            raise trial.failed(
                "a tensor stays on the CPU when the block is moved to another device",
                "create tensors with device=x.device, or register them: self.register_buffer(...)",
                failed.problem.where.partition("), ")[2],
                failed.problem.shapes,
            ) from failed
    return []


def check_copies(trial: Trial) -> list[str]:
    """Copy a block after a training pass, and load its saved weights into a block of another seed."""
    module, loaded = trial.build_trained().train(), trial.build_trained(seed=1)
    trial.run(module, trial.images(seed=1), gradients=True)
    try:
        copied = copy.deepcopy(module)
    except Exception as error:  # any class of the user's may refuse
        raise trial.failed(
            f"it cannot be copied after a training pass: {reason(error)}",
            "keep locks, open files and results of a pass out of attributes; y.detach() can be copied",
        ) from error
    file = io.BytesIO()
    try:
        torch.save(module.state_dict(), file)
        file.seek(0)
        loaded.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:  # torch's loader raises many classes
        raise trial.failed(
            f"its saved weights do not fit into a new block: {reason(error)}",
            "create the same layers in every __init__, and none in forward",
        ) from error
    for train in (True, False):
        expected = trial.run(module.train(train), trial.images())
        for other, words in ((copied, "a copy"), (loaded, "a new block with its saved weights")):
            run = trial.run(other.train(train), trial.images())
            if difference(run.output, expected.output) > SAME:
                raise trial.differs(
                    f"{words} gives another output, so a resumed run would differ",
                    "register what the output depends on: nn.Parameter or self.register_buffer(...)",
                    run,
                    expected,
                )
    return []
