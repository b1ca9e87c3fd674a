"""LOOK: check."""

from __future__ import annotations

import json as json_
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from .arguments import Flag
from .main import tell


def check(
    folder: Path,
    /,
    *,
    fix: Path | None = None,
    report: Path | None = None,
    truncated: Literal["refuse", "keep"] = "refuse",
    json: Flag = False,
) -> int:
    """What is wrong with a folder of photos: files, copies, leaks between splits, classes, names.

    Example: reslab check photos --report check.html

    Example: reslab check photos --fix list.jsonl; reslab train list.jsonl

    Looks at every photo and changes none. A second check decodes only what is new. The exit code is 1 if a
    finding would spoil a training, else 0; with --fix, if something would that no list can mend.

    Parameters
    ----------
    folder
        a folder with train/ (and val/, test/), a folder of classes, or a list that --fix wrote
    fix
        a new file that lists which photos to use, for train and evaluate: without those that cannot be
        decoded, both sides of contradictions, the copies of leaks outside of test, and duplicates
    report
        a page with every kind of finding, explained, with pictures; replaced if it is there
    truncated
        keep: as in train, use what is there of a JPEG that lacks its end
    json
        one JSON object on standard output, every finding in it
    """
    from reslab.pages import check_report
    from reslab.pages.page import page_path
    from reslab.photos.checking import check as faults
    from reslab.photos.folder import list_file as listing
    from reslab.text import printable

    fix = None if fix is None else Path(os.path.expanduser(fix))  # not Path's own, which fails for ~nobody
    page = None if report is None else page_path(report, "--report check.html")
    if fix is not None:
        listing.check_new(fix)  # before the work
    checked = faults.check(folder, truncated=truncated)
    if page is not None:
        check_report.write(checked, page)
    fixed = None if fix is None else checked.fix(fix)
    say: Callable[[str], None] = tell if json else print
    if json:
        print(json_.dumps(checked.as_json()), flush=True)
    else:
        print(f"{checked}\n")
    if page is not None:
        say(f"page: {printable(str(page))} ({page.stat().st_size / 1e6:.1f} MB), one file")
    if fixed is not None:
        say(f"list: {fixed}")
    spoils = checked.spoils_training if fixed is None else fixed.spoils_training
    named = shlex.quote(str(folder if fix is None else fix))
    named += " --truncated keep" if truncated == "keep" else ""
    if spoils and fixed is not None:
        say("next:  mend what no list can, then check again")
    elif spoils and not json:
        print(
            f"first mend what spoils a training, or leave it out: reslab check {printable(named)} --fix LIST"
        )
    elif not json or fixed is not None:
        say(f"next:  reslab train {printable(named)}")
    return int(spoils)
