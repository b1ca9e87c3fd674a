"""explain(): photos that can be read and one that cannot, as a page, as a folder, and in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab.errors import NetworkError, UsageError
from reslab.networks.blocks import BasicBlock
from reslab.networks.resnet import ResNet
from reslab.pages import explain_page
from reslab.randomness import torch_seeded

ODD_NAME = "<b>cat & 'dog'.png"


@pytest.fixture
def classifier() -> reslab.Classifier:
    with torch_seeded(0, "test"):
        network = ResNet(BasicBlock, (1, 1, 1, 1), (4, 4, 8, 8), num_classes=2, stem_channels=4)
    return reslab.Classifier(network, ("cat", "dog"), reslab.Preprocess(size=48, resize=48))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate((ODD_NAME, "long" * 50 + ".png")):
        pixels = np.random.Generator(np.random.Philox(number)).integers(0, 255, (60, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.jpg").write_text("no photo")
    return folder


def test_a_page_has_each_photo_next_to_its_map(
    classifier: reslab.Classifier, photos: Path, tmp_path: Path
) -> None:
    page = tmp_path / "heat.html"
    explanation = reslab.explain(classifier, photos, page, layer="layer1")
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png") == 4
    assert "&lt;b&gt;cat" in text
    assert "<b>cat" not in text
    assert "cannot be read as a photo" in text
    assert str(explanation.worth) in text
    assert "<script" not in text
    rows = {Path(row["path"]).name: row for row in explanation.as_json()}
    assert set(rows["broken.jpg"]) == {"path", "error"}
    assert rows[ODD_NAME]["label"] == classifier.predict(photos / ODD_NAME).label
    assert rows[ODD_NAME]["probability"] == pytest.approx(
        classifier.predict(photos / ODD_NAME).probability, rel=1e-5
    )
    assert rows[ODD_NAME]["heat_map"].startswith(f"{page}#photo")
    assert isinstance(rows[ODD_NAME]["worth"]["beats_center"], bool)
    assert "data:image/png" in explanation._repr_html_()
    assert "<b>cat" not in explanation._repr_html_()


def test_a_folder_gets_a_picture_of_each_photo(
    classifier: reslab.Classifier, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain_page, "MAX_SHOWN", 1)
    explanation = reslab.explain(classifier, photos, tmp_path / "heat", layer="layer1")
    files = [file for file in explanation.files if file is not None]
    assert len(files) == 2
    for file in files:
        with Image.open(file) as sheet:
            assert sheet.width > 2 * sheet.height
    text = (tmp_path / "heat" / "index.html").read_text(encoding="utf-8")
    assert "and 1 more photos" in text


def test_what_cannot_be_done_is_answered(classifier: reslab.Classifier, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a page nor a folder"):
        reslab.explain(classifier, photos, tmp_path / "heat.pdf")
    with pytest.raises(UsageError, match="no photos in an empty list"):
        reslab.explain(classifier, [])
    with pytest.raises(NetworkError, match="did you mean 'layer1'"):
        reslab.explain(classifier, photos, layer="leyer1")
    nothing = reslab.explain(classifier, photos / "broken.jpg")
    assert nothing.worth is None
    assert nothing.readable == ()
