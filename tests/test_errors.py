"""Errors: three parts, pickling, and hints for mistyped names."""

import pickle
import re

import pytest

from reslab import errors
from reslab.errors import ReslabError, nearest

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReslabError)]


def test_the_docstring_draws_the_tree_of_classes() -> None:
    drawn = re.findall(r"^(?:\|-- |`-- )?([A-Z]\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [
        "ReslabError",
        *(kind.__name__ for kind in ReslabError.__subclasses__() if kind in KINDS),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_is_a_line_and_empty_parts_are_left_out(kind: type[ReslabError]) -> None:
    assert str(kind("a", "b", "c")) == "a\n  why: b\n  do:  c"
    assert str(kind("a", do="c")) == "a\n  do:  c"
    assert str(kind("a")) == "a"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_can_be_pickled(kind: type[ReslabError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", "why", "do")))
    assert type(error) is kind
    assert (error.what, error.why, error.do) == ("what", "why", "do")


@pytest.mark.parametrize("typed", ["rsnet18", "resnet-18", "resent18"])
def test_a_mistyped_name_gives_the_nearest_one(typed: str) -> None:
    assert nearest(typed, ["resnet50", "resnet18", "vgg"]) == (
        "did you mean 'resnet18'? known: resnet18, resnet50, vgg"
    )


def test_a_name_without_a_near_one_gives_the_list() -> None:
    assert nearest("zzzz", {"fast": 1, "paper": 2}) == "known: fast, paper"
