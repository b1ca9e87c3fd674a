"""Check that the output depends on the images and the weights alone: no state, no luck, no labels."""

from __future__ import annotations

import torch
from torch import Tensor

from .trial import BATCH, SAME, Pass, Trial, difference


def check_equal_blocks(trial: Trial) -> list[str]:
    """Run two blocks of one seed on the same images, with a batch through a third block between them."""
    x = trial.images()
    first = trial.run(trial.build_trained().train(), x)
    trial.run(trial.build_trained().train(), trial.images(seed=1))
    second = trial.run(trial.build_trained().train(), x)
    if difference(second.output, first.output) > SAME:
        raise trial.differs(
            "two blocks of one seed differ: they share state, or draw random numbers outside torch",
            "keep state in the block, self.register_buffer(...), and draw from torch, which a run seeds",
            first,
            second,
        )
    return []


def check_eval_mode(trial: Trial) -> list[str]:
    """Run the same images twice in eval mode, others between them, and then train: nothing may be kept."""
    x, module = trial.images(), trial.build_trained().eval()
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    first = trial.run(module, x)
    trial.run(module, trial.images(seed=1))
    second = trial.run(module, x, seed=1)
    for name, buffer in module.named_buffers():
        if name in buffers and not torch.equal(buffer, buffers[name]):
            raise trial.failed(
                f"eval mode changes {name}: validation photos would change what is trained",
                "change buffers only if self.training",
                name,
                f"{name} {tuple(buffer.shape)}",
            )
    if difference(second.output, first.output) > SAME:
        raise trial.differs(
            "the same images give another output the second time in eval mode",
            "draw random numbers only if self.training (F.dropout needs training=self.training), create no "
            "layer in forward, and keep nothing of earlier images",
            first,
            second,
        )
    after_validation = trial.run(module.train(), x)
    alone = trial.run(trial.build_trained().train(), x)
    if difference(after_validation.output, alone.output) > SAME:
        raise trial.differs(
            "what it keeps from validation changes the training after it",
            "keep nothing in eval mode: set attributes only if self.training",
            after_validation,
            alone,
        )
    return []


def check_single_images(trial: Trial) -> list[str]:
    """Run one image alone and among others, in eval mode: its output must stay."""
    module, x = trial.build_trained().eval(), trial.images()
    alone, among = trial.run(module, x[:1]), trial.run(module, x)
    if difference(among.output, alone.output) > SAME:
        raise trial.differs(
            "the output for an image depends on the other images of the batch in eval mode",
            "average over axes 1 to 3, never over axis 0; keep track_running_stats=True in a batch norm",
            alone,
            among,
        )
    return []


def check_train_mode(trial: Trial) -> list[str]:
    """Compare train and eval mode, with torch's own layers in eval mode: the rest may differ only at random.

    Returns:
        A note if the train mode draws random numbers, or keeps statistics in buffers.
    """
    x, module = trial.images(), trial.build_trained().train()
    for layer in module.modules():
        if type(layer).__module__.startswith("torch."):  # batch norm and dropout differ as they should
            layer.training = False
    buffers = [buffer.clone() for buffer in module.buffers()]
    trained, evaluated = trial.run(module, x), trial.run(trial.build_trained().eval(), x)
    if difference(trained.output, evaluated.output) <= SAME:
        return []
    if trained.is_random:
        return ["it is random in train mode, as dropout and stochastic depth are"]
    if any(not torch.equal(*pair) for pair in zip(buffers, module.buffers(), strict=True)):
        return ["its train mode keeps statistics for eval mode, as batch norm does"]
    raise trial.differs(
        "train mode computes something else than eval mode, without batch norm or randomness",
        "compute the same in both modes: what is trained has to be what is evaluated",
        trained,
        evaluated,
    )


def check_labels(trial: Trial) -> list[str]:
    """Run the block below callers whose variables hold labels: the output must not depend on them.

    This finds code that searches its callers' variables by the usual names. It does not find labels that the
    user's code passes on in a global variable or a file.
    """
    for train in (True, False):
        zeros, numbers = torch.zeros(BATCH).long(), torch.arange(BATCH)
        first = _run_below_labels(trial, train, labels=zeros, targets=zeros, target=zeros, y=zeros)
        second = _run_below_labels(trial, train, labels=numbers, targets=numbers, target=numbers, y=numbers)
        if difference(second.output, first.output) > SAME:
            raise trial.differs(
                "the output changes with the labels of the batch, which it reads from its caller's variables",
                "compute the output from the input alone",
                first,
                second,
            )
    return []


def _run_below_labels(
    trial: Trial, train: bool, *, labels: Tensor, targets: Tensor, target: Tensor, y: Tensor
) -> Pass:
    """Run a new block; the labels are variables of its caller and otherwise unused."""
    return trial.run(trial.build_trained().train(train), trial.images())
