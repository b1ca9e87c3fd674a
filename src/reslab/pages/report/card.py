"""Model card of a report: Markdown with the metadata that model hubs read (Mitchell et al. 2019)."""

from __future__ import annotations

import json
from typing import Any

from reslab.text import printable

from .texts import load_texts
from .verdict import Verdict

MAX_CLASSES = 50  # in the table of the card


def markdown(verdict: Verdict, licence: str | None) -> str:
    """Return the card as Markdown, with a header in YAML.

    Args:
        verdict: every figure of the report.
        licence: of the training data, as the model file records it; None if unknown.
    """
    texts = load_texts("en")
    per_class = verdict.evaluation["per_class"]
    header = [f"{key}: {json.dumps(value)}" for key, value in _metadata(verdict, licence).items()]
    lines = ["---", *header, "---", "", f"# {_plain(printable(verdict.name))}", ""]
    lines += [*map(_plain, texts.sentences(verdict)), ""]
    lines += [f"> {_plain(warning)}" for warning in texts.warnings(verdict)]
    lines += ["", "## Classes", "", "| class | photos | recall | precision |", "| --- | ---: | ---: | ---: |"]
    for name, figures in list(per_class.items())[:MAX_CLASSES]:
        recall, precision = (
            "–" if figures[key] is None else texts.percent(figures[key]) for key in ("recall", "precision")
        )
        lines.append(f"| {_plain(printable(name))} | {figures['photos']:,} | {recall} | {precision} |")
    if training := verdict.training:
        counts = ", ".join(f"{sum(each.values()):,} {split}" for split, each in training.photos.items())
        lines += ["", "## Training", ""]
        lines += [f"- network: {_plain(printable(training.network))}, {training.parameters:,} parameters"]
        lines += [f"- initial weights: {_plain(printable(training.weights or 'random'))}"]
        lines += [f"- photos: {counts}; digest {verdict.repeat.photos_digest}"]
        lines += [f"- {training.epochs} epochs, the best is {training.best_epoch}; {training.size} pixels"]
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import reslab",
        "",
        'classifier = reslab.load("model.safetensors")',
    ]
    lines += ['print(classifier.predict("photo.jpg"))', "```", ""]
    return "\n".join(lines)


def _metadata(verdict: Verdict, licence: str | None) -> dict[str, Any]:
    """Return the header's entries. Each value is written as JSON, which is YAML."""
    evaluation, summary = verdict.evaluation, verdict.summary
    network = verdict.name.partition(", ")[0]
    dataset = verdict.name.partition(", ")[2]
    metrics = [{"type": "accuracy", "name": "Accuracy", "value": evaluation["accuracy"]}]
    if (balanced := evaluation.get("balanced_accuracy")) is not None:
        metrics.append({"type": "balanced_accuracy", "name": "Balanced accuracy", "value": balanced})
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": dataset, "name": dataset, "split": summary.kind},
        "metrics": metrics,
    }
    return {
        **({} if licence is None else {"license": licence}),
        "library_name": "reslab",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "reslab", "resnet"],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": network, "results": [result]}],
    }


def _plain(text: str) -> str:
    """Return text for Markdown in which nothing is markup: in class and file names, too."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]<>#|" else letter for letter in text)
