"""Labels in the names of photos, and names that give none."""

from __future__ import annotations

import pytest

from reslab.photos.folder.sources.file_names import classes_by_name


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat.0", "cat.1", "dog.0", "dog.1"], "cat cat dog dog"),
        (["cat_001", "cat_002", "dog_7", "dog_8"], "cat cat dog dog"),
        (["cat-12", "cat-13", "dog-1", "dog-2"], "cat cat dog dog"),
        (["cat (1)", "cat (2)", "dog (1)", "dog (2)"], "cat cat dog dog"),
        (["Abyssinian_100", "Abyssinian_2", "great_pyrenees_12", "great_pyrenees_3"],
         "Abyssinian Abyssinian great_pyrenees great_pyrenees"),
        (["n01440764_10026", "n01440764_2", "n01443537_1", "n01443537_5"],
         "n01440764 n01440764 n01443537 n01443537"),
        (["Crow_0001_796111", "Crow_0002_796112", "Wren_0001_5", "Wren_0002_6"], "Crow Crow Wren Wren"),
        (["猫.0", "猫.1", "狗.0", "狗.1"], "猫 猫 狗 狗"),
    ],
)  # fmt: skip
def test_the_class_is_the_part_before_the_number(names: list[str], classes: str) -> None:
    found = classes_by_name(f"{name}.jpg" for name in names)
    assert found.others == []
    assert {path: name for name, of in found.classes.items() for path in of} == {
        f"{name}.jpg": label for name, label in zip(names, classes.split(), strict=True)
    }


@pytest.mark.parametrize(
    ("names", "why_not"),
    [
        (["IMG_1234", "IMG_1235", "IMG_1236"], "the same word, IMG"),
        (["IMG_1", "IMG_2", "DSC_1", "DSC_2"], "'IMG' has a word that cameras"),
        (["DSC0001", "DSC0002"], "no number after a class"),
        (["2023-05-01_1", "2023-05-01_2", "2023-05-02_1"], "no number after a class"),
        (["1", "2", "3"], "no number after a class"),
        (["patient1_1", "patient1_2", "patient2_1", "patient2_2"], "'patient1' has a word"),
        (["a1_1", "a1_2", "a2_1", "a2_2"], "differ by a number alone"),
        (["cat_1_1", "cat_1_2", "cat_2_1", "dog_1_1", "dog_1_2"], "may be cat or cat_1"),
        (["ab_1", "bc_1", "cd_1", "de_1"], "nearly every photo would be a class"),
        (["holiday", "garden", "cat.1"], "2 of 3 names"),
        ([], "no names"),
    ],
)
def test_names_that_can_mean_something_else_give_no_classes(names: list[str], why_not: str) -> None:
    paths = [f"{name}.jpg" for name in names]
    found = classes_by_name(paths)
    assert why_not in found.why_not
    assert (found.classes, sorted(found.others)) == ({}, sorted(paths))


def test_a_few_other_names_are_left_out() -> None:
    found = classes_by_name(["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg", "readme.png"])
    assert found.others == ["readme.png"]
    assert set(found.classes) == {"cat", "dog"}
