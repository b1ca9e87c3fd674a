"""Entry point of the command line: a table of verbs; only the called verb is imported."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import sys
from collections.abc import Callable
from importlib import import_module

from reslab.errors import CodeNeededError, ReslabError, UsageError, nearest
from reslab.text import printable

from .output import discard, tell

GROUPS = {
    "LOOK": {
        "conv": ("show:conv", "the output size of a convolution, with its formula"),
        "show": ("show:show", "every layer of a network: shape, formula, cost, receptive field"),
        "walk": ("walk:walk", "follow one photo through a network, on a page"),
        "check": ("check:check", "find bad files, duplicates and leaks in a folder of photos"),
        "get": ("datasets:get", "download a public data set as a photo folder"),
        "exercise": ("course:exercise", "start an exercise of the course, or check your solution"),
    },
    "TRAIN": {
        "demo": ("demo:demo", "train, evaluate and predict on drawings, in a few minutes"),
        "train": ("train:train", "train a network on a folder of photos"),
        "resume": ("train:resume", "continue a stopped run, to the same weights"),
        "runs": ("runs:runs", "list all runs in a table"),
    },
    "JUDGE": {
        "evaluate": ("evaluate:evaluate", "measure accuracy, with its interval, on a folder of classes"),
        "predict": ("evaluate:predict", "classify photos"),
        "explain": ("explain:explain", "heat maps of photos, and whether they are worth anything"),
        "report": ("report:report", "how good, where wrong, where it looks: a page of a training"),
        "compare": ("compare:compare", "is an idea better, or was it luck? paired seeds and a verdict"),
        "experiment": ("experiment:experiment", "repeat an experiment of a paper in small"),
    },
}
OTHER_TOOLS_FLAGS = {  # of torchvision's references, timm, ultralytics and Lightning
    **dict.fromkeys(("--lr", "--lr0", "--base-lr", "-lr"), "--learning-rate"),
    **dict.fromkeys(("--wd", "--decay"), "--weight-decay"),
    **dict.fromkeys(("--bs", "--batch", "-b"), "--batch-size"),
    **dict.fromkeys(("--imgsz", "--img-size", "--image-size", "--input-size"), "--size"),
    **dict.fromkeys(("--epoch", "--max-epochs", "--num-epochs"), "--epochs"),
    **dict.fromkeys(("--arch", "--model", "--backbone"), "--network"),
    **dict.fromkeys(("--output-dir", "--save-dir", "--project"), "--run"),
    **dict.fromkeys(("--num-workers", "-j"), "--workers"),
    **dict.fromkeys(("--pretrained", "--checkpoint"), "--weights"),
    **dict.fromkeys(("--opt", "--optim"), "--optimizer"),
    "--label-smoothing-factor": "--label-smoothing",
    "--random-seed": "--seed",
}
VERBS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}


def help_text() -> str:
    """Return the text of `reslab --help`: usage, and all verbs in groups with one line each."""
    lines = ["reslab takes a residual network apart, trains it on your photos, and tells you"]
    lines += ["whether your idea makes it better.", ""]
    lines += ["Usage: reslab VERB ...          reslab VERB --help explains one, with an example"]
    for group, verbs in GROUPS.items():
        lines += ["", group]
        lines += [f"  {verb:10} {text}" for verb, (_, text) in verbs.items()]
    return "\n".join([*lines, "", "New here?  reslab demo"])


def main(arguments: list[str] | None = None) -> None:
    """Run one verb and end the process with its exit code.

    Exit codes: 0 done, 1 the answer is no, 2 cannot be done as asked, 130 interrupted. Standard streams that
    the caller closed are replaced by the null device.

    Args:
        arguments: the words after `reslab`; by default those of the command line.

    Raises:
        SystemExit: always; exceptions that `run` does not catch pass through.
    """
    # Idle threads of libgomp, which torch computes with, spin and take the cores from other programs. A short
    # spin costs nothing on an idle machine; benchmarks/RESULTS.md has the figures. libgomp reads this once.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the caller closed it, as >&- does
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one verb and return the exit code, see `main`.

    A ReslabError is printed to standard error. A closed pipe on standard output counts as done.

    Args:
        arguments: the words after `reslab`; none prints the help.

    Raises:
        OSError: any but a closed pipe, a full disk, or a failure of standard output.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal can print every letter
    try:
        code = _call(arguments)
        sys.stdout.flush()
        return code
    except CodeNeededError as error:
        again = printable(shlex.join(["reslab", *arguments, "--network", error.network]))
        tell(f"error: {ReslabError(error.what, error.why, f'name the file again: {again}')}")
        return 2
    except ReslabError as error:
        tell(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has ended
        discard(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in (errno.EIO, errno.ENOSPC) or error.filename is not None:
            raise
        discard(sys.stdout)
        tell(f"error: standard output cannot be written\n  why: {error.strerror}")
        return 2


def _call(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if arguments[0] in ("--version", "-V", "version"):
        from reslab.version import __version__

        print(f"reslab {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        raise UsageError(f"there is no verb '{verb}'", "", f"{nearest(verb, VERBS)}; see reslab --help")
    module, _, function = VERBS[verb][0].partition(":")
    command = getattr(import_module(f"reslab.cli.{module}"), function)
    return _parse_and_call(verb, command, rest)


def _parse_and_call(verb: str, command: Callable[..., int | None], arguments: list[str]) -> int:
    """Let cyclopts parse `arguments` and call `command`, or print its help.

    Args:
        verb: name of the command in help and errors.
        command: the verb's function.
        arguments: the words after the verb.

    Returns:
        The exit code that `command` returns, or 0 if it returns None.

    Raises:
        UsageError: the arguments do not fit. Exceptions of `command` pass through.
    """
    import cyclopts

    app = cyclopts.App(
        name=f"reslab {verb}",
        version_flags=[],
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # run() handles it
    )
    app.default(command)
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.UnknownOptionError as error:
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        ours = OTHER_TOOLS_FLAGS.get(flag, flag)
        if ours == flag or not any(ours in known.names for known in error.argument_collection):
            raise _usage_error(verb, error) from None
        what = f"reslab {verb} has no flag {flag}"
        raise UsageError(what, "", f"write {ours}; see reslab {verb} --help") from None
    except cyclopts.MissingArgumentError as error:
        missing, example = error.argument, re.search(r"Example: (reslab .*)", command.__doc__ or "")
        if missing is None or missing.tokens or error.keyword or not example:
            raise _usage_error(verb, error) from None
        do = f"add it, as in: {example[1]}; see reslab {verb} --help"
        raise UsageError(f"reslab {verb} needs {missing.name}", "", do) from None
    except cyclopts.CycloptsError as error:
        raise _usage_error(verb, error) from None
    return result if isinstance(result, int) else 0


def _usage_error(verb: str, error: Exception) -> UsageError:
    return UsageError(" ".join(str(error).split()), "", f"see reslab {verb} --help")
