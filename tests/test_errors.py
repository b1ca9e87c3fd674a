"""An error is an answer: what happened, why, and what to do next."""

import pickle
import re

import pytest

from reslab import errors
from reslab.errors import ReslabError, nearest

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReslabError)]


def test_the_tree_at_the_top_is_the_tree() -> None:
    drawn = re.findall(r"^(?:\|-- |`-- )?([A-Z]\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [
        "ReslabError",
        *(kind.__name__ for kind in ReslabError.__subclasses__() if kind in KINDS),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_three_parts_are_three_lines_and_what_is_empty_is_none(kind: type[ReslabError]) -> None:
    assert str(kind("a", "b", "c")) == "a\n  why: b\n  do:  c"
    assert str(kind("a", do="c")) == "a\n  do:  c"
    assert str(kind("a")) == "a"


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_the_way_between_processes(kind: type[ReslabError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", "why", "do")))
    assert type(error) is kind
    assert (error.what, error.why, error.do) == ("what", "why", "do")


@pytest.mark.parametrize("typed", ["rsnet18", "resnet-18", "resent18"])
def test_a_mistyped_name_is_led_to_the_nearest(typed: str) -> None:
    assert nearest(typed, ["resnet50", "resnet18", "vgg"]) == (
        "did you mean 'resnet18'? known: resnet18, resnet50, vgg"
    )


def test_a_name_that_is_near_to_nothing_gets_the_list() -> None:
    assert nearest("zzzz", {"fast": 1, "paper": 2}) == "known: fast, paper"
