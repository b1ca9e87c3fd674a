"""The verb `experiment`: an experiment of a paper in small, with what the paper found."""

from __future__ import annotations

import json as json_
import sys
from pathlib import Path

from .arguments import Flag, Whole
from .output import announce, write_line


def experiment(
    name: str | None = None,
    folder: Path | None = None,
    /,
    *,
    seeds: Whole | None = None,
    jobs: Whole | None = None,
    output: Path | None = None,
    yes: Flag = False,
    json: Flag = False,
) -> None:
    """Repeat an experiment of a paper in small, and print both results.

    Example: reslab experiment
             reslab experiment shortcuts

    Without a name it lists the experiments. Each takes under an hour on two
    cores. The same command continues an interrupted one.

    Args:
        name: shortcuts, shortcut-options, preactivation or stem
        folder: photos with a test split; a fixed part of them is used [Fashion-MNIST, downloaded]
        seeds: trainings of each variant [6 or 8]
        jobs: trainings at a time [as many as cores]
        output: folder of the result [experiments/NAME]
        yes: start without asking
        json: the result as JSON on standard output
    """
    from reslab.files import user_path
    from reslab.lab.compare import plan_comparison
    from reslab.lab.estimate import estimate
    from reslab.lab.literature.experiments import EXPERIMENTS, find_experiment
    from reslab.lab.literature.run_experiment import findings_text, photos_of, request_of, run_experiment
    from reslab.text import printable

    if name is None:
        for title, known in EXPERIMENTS.items():
            print(f"{title}\n  {known.question}\n  {known.paper}")
        print("\nnext:   reslab experiment shortcuts")
        return

    def say(text: str) -> None:
        write_line(text, sys.stderr if json else sys.stdout)

    chosen = find_experiment(name)
    say(f"{chosen.question}\n{chosen.paper}\n")
    place = user_path(output) if output else Path("experiments") / name
    photos = photos_of(chosen, None if folder is None else user_path(folder), place, say)
    request = request_of(chosen, seeds=seeds, jobs=jobs)
    plan = plan_comparison(photos, chosen.variants, request, place, say)
    announce(estimate(plan, place, request), f"reslab experiment {name}", yes=yes, say=say)
    comparison, findings = run_experiment(chosen, plan, place, request, say)
    if json:
        content = {"experiment": name, "claims": [finding.as_json() for finding in findings]}
        write_line(json_.dumps({**content, "comparison": comparison.as_json()}), sys.stdout)
        return
    say(f"{comparison.table()}\n\n{findings_text(findings)}")
    say(f"report: {printable(str(place / 'report.html'))}")
