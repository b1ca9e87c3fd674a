"""verb -> function: the command line is a table, and only the verb that is called gets imported."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import NoReturn, TextIO

from reslab.errors import ReslabError, UsageError, nearest

GROUPS = {
    "LOOK": {
        "conv": ("show:conv", "a convolution's formula, with the numbers put in"),
        "show": ("show:show", "a network taken apart: formula, shape, cost of every layer"),
        "walk": ("walk:walk", "one photo's way through a network, as a page to look at"),
        "check": ("check:check", "what is wrong with a folder of photos, before it spoils a training"),
        "get": ("datasets:get", "a public data set as a photo folder"),
        "exercise": ("course:exercise", "an exercise of the course, and whether your file solves it"),
    },
    "TRAIN": {
        "demo": ("train:demo", "the whole way on an embedded set of drawings, in a few minutes"),
        "train": ("train:train", "a folder of photos becomes a trained, measured network"),
        "resume": ("train:resume", "go on with a run that was stopped, to the same bits"),
        "runs": ("train:runs", "every run in a table"),
    },
    "JUDGE": {
        "evaluate": ("evaluate:evaluate", "accuracy with its interval, on a folder of classes"),
        "predict": ("evaluate:predict", "what is on these photos"),
    },
}
VERBS = {verb: entry for group in GROUPS.values() for verb, entry in group.items()}
GONE = (errno.EPIPE, errno.EIO, errno.ENOSPC)  # the reader has left, the terminal is closed, the disk is full


def help_text() -> str:
    """What `reslab --help` prints."""
    lines = ["reslab takes a residual network apart, trains it on your photos, and measures it honestly.", ""]
    lines += ["Usage: reslab VERB ...          reslab VERB --help explains one, with an example"]
    for group, verbs in GROUPS.items():
        lines += ["", group]
        lines += [f"  {verb:10} {text}" for verb, (_, text) in verbs.items()]
    return "\n".join([*lines, "", "New here?  reslab demo"])


def main(arguments: list[str] | None = None) -> None:
    """Runs one verb, that of the command line unless `arguments` are given, and exits.

    Exit codes: 0 done, 1 the answer is no, 2 cannot be done as asked, 130 interrupted.
    """
    if arguments is not None:
        sys.exit(run(arguments))
    _end(run(sys.argv[1:]))


def _end(code: int) -> NoReturn:
    """Ends the process. Taking torch apart, object by object, would keep its user waiting for 0.6 s."""
    if "torch" not in sys.modules or _is_watched():
        sys.exit(code)
    atexit._run_exitfuncs()  # they stop worker processes and remove temporary folders
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _is_watched() -> bool:
    """By a profiler, a debugger, a measurement of coverage or `python -i`, whose turn it is at the end."""
    tools = getattr(sys, "monitoring", None)  # from Python 3.12 on
    watching = tools is not None and any(map(tools.get_tool, range(6)))
    return bool(watching or sys.getprofile() or sys.gettrace() or sys.flags.inspect)


def run(arguments: list[str]) -> int:
    """One call of the command line; its exit code."""
    _open_closed_streams()
    try:
        _any_letters()
        code = _call(arguments)
        sys.stdout.flush()
        return code
    except ReslabError as error:
        tell(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        _print_into_nothing(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in GONE or error.filename is not None:
            raise
        _print_into_nothing(sys.stdout)
        tell(f"error: standard output cannot be written\n  why: {error.strerror}")
        return 2


def tell(text: str) -> None:
    """A line for people beside the output, on standard error; whether anybody reads it changes nothing."""
    with heard_or_not(sys.stderr):
        print(_without_escapes(text), file=sys.stderr)


def _without_escapes(text: str) -> str:
    """The lines of a text that may quote a stranger's file: nothing in them moves the cursor."""
    from reslab.text import printable

    return "\n".join(map(printable, text.split("\n")))


@contextmanager
def heard_or_not(stream: TextIO) -> Iterator[None]:
    """What the block writes to `stream`: once nobody takes it, the work goes on without a word there."""
    try:
        yield
        stream.flush()
    except OSError as error:
        if error.errno not in GONE:
            raise
        _print_into_nothing(stream)


def _print_into_nothing(stream: TextIO) -> None:
    """From now on `stream` goes nowhere, what waits in it as well, since nobody takes it."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _open_closed_streams() -> None:
    """A stream that was closed, as by `>&-`, leads nowhere from now on, where Python has None in its place.

    It gets its own number back, the lowest that is free: else the next file that is opened would have it,
    and what other libraries print would stand in that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)  # for the processes that we start it is closed, too
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", errors="backslashreplace"))


def _any_letters() -> None:
    """Standard output may be no UTF-8: letters that it lacks come out escaped, and stop nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _call(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if arguments[0] in ("--version", "-V"):
        from reslab.version import __version__

        print(f"reslab {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        raise UsageError(f"there is no verb '{verb}'", "", f"{nearest(verb, VERBS)}; see reslab --help")
    module, _, function = VERBS[verb][0].partition(":")
    command = getattr(import_module(f"reslab.cli.{module}"), function)
    return _parse_and_call(verb, command, rest)


def _parse_and_call(verb: str, command: object, arguments: list[str]) -> int:
    """cyclopts turns words into the function's arguments; its complaints become ours."""
    import cyclopts

    app = cyclopts.App(
        name=f"reslab {verb}",
        version_flags=[],
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # run() answers it
    )
    app.default(command)  # type: ignore[call-overload]
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        what = " ".join(str(error).split())
        raise UsageError(what, "", f"see reslab {verb} --help") from None
    return result if isinstance(result, int) else 0
