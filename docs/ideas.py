"""Renew docs/ideas.md and docs/ideas.zh.md from the list of ideas and the results in docs/ideas/.

    python docs/ideas.py

The list is src/reslab/lab/literature/ideas.toml, the text around it is docs/ideas/texts.toml.
benchmarks/ideas.py makes the results. A test compares the pages with what this script makes.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from reslab.lab.literature.idea_gains import Gain, gain_text, gains
from reslab.lab.literature.ideas import BASELINE, Idea, load_ideas

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/ideas"
PAGES = {"en": ROOT / "docs/ideas.md", "zh": ROOT / "docs/ideas.zh.md"}
DATA_SETS = ("fashion-mnist", "cats-dogs")
NETWORK, SIZE = "cifar_resnet20", 32  # where nothing was measured yet
EPOCHS = 8  # without the idea, as in benchmarks/ideas.py
SIZE_OF_RESIZING = 64  # progressive resizing changes nothing below

TEXTS: dict[str, dict[str, str]] = tomllib.loads((RESULTS / "texts.toml").read_text(encoding="utf-8"))


def main() -> None:
    """Write both pages."""
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the result of each data set that was measured, also of an unfinished measurement."""
    paths = {name: folder / f"{name}.json" for name in DATA_SETS}
    return {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()
    }


def page(language: str, folder: Path = RESULTS) -> str:
    """Return the page in a language, with the results in a folder."""
    texts, found, ideas = TEXTS[language], results(folder), load_ideas()
    measured = {name: gains(ideas, result) for name, result in found.items()}
    parts = [texts["head"], f"## {texts['table']}\n", big_table(language, ideas, found, measured)]
    if found:
        parts.append(texts["explained"].format(texts[next(iter(found))]))
    parts += [f"## {texts['how']}\n", *how(language, found)]
    parts.append(f"## {texts['ideas']}\n")
    parts += [section(language, idea, found, measured) for idea in ideas]
    return "\n".join(parts)


def big_table(
    language: str,
    ideas: tuple[Idea, ...],
    found: dict[str, dict[str, Any]],
    measured: dict[str, dict[str, Gain]],
) -> str:
    texts = TEXTS[language]
    columns = texts["columns"].format(" | ".join(TEXTS[language][name] for name in DATA_SETS))
    lines = [f"| {columns} |", "| --- | --: | " + " | ".join("---" for _ in DATA_SETS) + " | --: |"]
    for idea in ideas:
        title = name_of(language, idea)
        cells = [f"[{title}](#{anchor(title)})", paper_gain(language, idea)]
        for name in DATA_SETS:
            gain = measured.get(name, {}).get(idea.name)
            out = found.get(name, {}).get("left_out", {}).get(idea.name)
            missing = "–" if out else texts["not_measured"]
            cells.append(f"{gain_text(gain)} {verdict(language, gain)}" if gain else missing)
        first = next((m[idea.name] for m in measured.values() if idea.name in m), None)
        cells.append(f"× {first.step_ratio:.2f}" if first else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def paper_gain(language: str, idea: Idea) -> str:
    """Return the first gain that a paper reports, with its data set."""
    reported = next((r for r in idea.reported if r.gain is not None), None)
    return f"{reported.gain:+.2f}, {reported.data}" if reported else TEXTS[language]["no_figure"]


def verdict(language: str, gain: Gain) -> str:
    texts = TEXTS[language]
    words = texts[gain.verdict or "no_verdict"]
    is_small = gain.verdict in ("better", "worse") and gain.within_margin
    return texts["within"].format(words) if is_small else words


def how(language: str, found: dict[str, dict[str, Any]]) -> list[str]:
    """Return how the results were made: commands, then data, settings and machine of each data set."""
    texts = TEXTS[language]
    files = texts["and"].join(f"[ideas/{name}.json](ideas/{name}.json)" for name in found) or "docs/ideas/"
    commands = (
        "```text\n"
        "reslab get fashion-mnist fashion-mnist\n"
        "python benchmarks/ideas.py --fashion-mnist fashion-mnist --cats-dogs cats-dogs\n"
        "python docs/ideas.py\n"
        "```\n"
    )
    return [texts["commands"].format(files=files), commands, *(made(language, n, found) for n in DATA_SETS)]


def made(language: str, name: str, found: dict[str, dict[str, Any]]) -> str:
    texts, title = TEXTS[language], TEXTS[language][name]
    if name not in found:
        return texts["unmade"].format(title=title)
    result = found[name]
    recipe, environment, machine = result["recipe"], result["environment"], result["machine"]
    rows = [row for c in result["comparisons"].values() for row in c["variants"]]
    counts = [len(row["accuracies"]) for row in rows]
    seconds = sum(row["seconds"] * count for row, count in zip(rows, counts, strict=True)) / sum(counts)
    return texts["made"].format(
        title=title, train=result["train"], val=result["val"], test=result["test"],
        classes=result["classes"], network=result["network"], size=recipe["size"], epochs=recipe["epochs"],
        batch=recipe["batch_size"], optimizer=recipe["optimizer"], rate=recipe["learning_rate"],
        schedule=recipe["schedule"], precision=environment["precision"], seeds=max(counts),
        margin=100 * result["margin"], cells=sum(counts), cell=seconds, processor=machine["processor"],
        cores=machine["cores"], torch=environment["torch"], reslab=environment["reslab"],
    )  # fmt: skip


def section(
    language: str, idea: Idea, found: dict[str, dict[str, Any]], measured: dict[str, dict[str, Gain]]
) -> str:
    texts = TEXTS[language]
    is_english = language == "en"
    lines = [f"### {name_of(language, idea)}\n", idea.sentence if is_english else idea.sentence_zh, ""]
    note = idea.note if is_english else idea.note_zh
    if note:
        lines += [note, ""]
    paper = idea.paper
    place = f"{paper.venue} {paper.year}" + (texts["section"].format(paper.section) if paper.section else "")
    link = f"{paper.authors}, [{paper.title}]({paper.address}), {place}"
    lines.append(f"- **{texts['paper']}**{texts['colon']}{link}{texts['stop']}")
    lines += [f"- **{texts['reports']}**{texts['colon']}{line}" for line in reported(language, idea)]
    lines += [
        f"- **{texts['measured']}**{texts['colon']}{line}"
        for line in figures(language, idea, found, measured)
    ]
    removes = " " + texts["removes"] if idea.removes else ""
    lines.append(f"- **{texts['run']}**{texts['colon']}`{command(idea)}`{removes}")
    lines += ["", f"**{texts['questions']}**", ""]
    lines += [f"- {question}" for question in (idea.questions if is_english else idea.questions_zh)]
    return "\n".join([*lines, ""])


def reported(language: str, idea: Idea) -> list[str]:
    texts, lines = TEXTS[language], []
    for r in idea.reported:
        kind = "with" if r.baseline is None else "instead"
        what = texts[kind].format(
            measure=in_words(language, r.measure), idea=r.idea, baseline=r.baseline,
            kind=texts["lost" if (r.gain or 0) < 0 else "gained"], size=abs(r.gain or 0),
        )  # fmt: skip
        lines.append(
            texts["on"].format(
                data=r.data,
                network=in_words(language, r.network),
                what=what,
                where=in_words(language, r.where),
            )
        )
    return lines


def figures(
    language: str, idea: Idea, found: dict[str, dict[str, Any]], measured: dict[str, dict[str, Gain]]
) -> list[str]:
    """Return a sentence on each data set that was measured."""
    texts, lines = TEXTS[language], []
    for name, result in found.items():
        title, why = TEXTS[language][name], result["left_out"].get(idea.name)
        gain = measured[name].get(idea.name)
        if why:
            lines.append(texts["left_out"].format(title=title, why=in_words(language, why)))
        elif gain is not None and gain.difference is not None:
            lines.append(figure(language, title, gain))
    return lines or [texts["not_measured"] + texts["stop"]]


def figure(language: str, title: str, gain: Gain) -> str:
    texts = TEXTS[language]
    p = "p < 0.001" if gain.p_value is not None and gain.p_value < 0.001 else f"p = {gain.p_value:.3f}"
    largest = max(gain.idea.reported, key=lambda r: r.gain or 0, default=None)
    reached = ""
    if largest is not None and largest.gain is not None and 100 * gain.high < largest.gain:
        reached = texts["reached"].format(largest.gain, largest.data)
    return texts["gain"].format(
        title=title, gain=gain_text(gain), verdict=verdict(language, gain), p=p,
        without=100 * (gain.without or 0), epochs=gain.epochs, epochs_without=gain.epochs_without,
        needed=texts["needed"].format(gain.seeds_needed) if gain.seeds_needed else "", reached=reached,
    )  # fmt: skip


def command(idea: Idea) -> str:
    """Return the shell command that compares an idea alone."""
    settings = "".join(f" --{name.replace('_', '-')} {value}" for name, value in idea.settings.items())
    size = SIZE_OF_RESIZING if "progressive" in idea.variant else SIZE
    flags = f"--network {NETWORK} --size {size} --epochs {EPOCHS}{settings} --budget time"
    return f"reslab compare FOLDER {BASELINE} {idea.variant} {flags}"


def in_words(language: str, text: str) -> str:
    """Return a text of the list in the page's language."""
    return text if language == "en" else TEXTS["words"].get(text, text)


def name_of(language: str, idea: Idea) -> str:
    return idea.name if language == "en" else idea.name_zh


def anchor(title: str) -> str:
    """Return the anchor that GitHub and the site give a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


if __name__ == "__main__":
    main()
