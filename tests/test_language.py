"""Docstrings, comments and messages of the source are plain English."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src/reslab"
# words for which the field or everyday English has a plainer one
WORDS = re.compile(
    r"\b(anew|mend(s|ed|ing)?|beside|told|(?<!there )(is|are) none|for they|nobody|strangers?|whoever"
    r"|without a word|for ever)\b"
)
# a docstring starts with a verb or a noun
START = re.compile(r"(What|Whose|Whatever|Of|Where|How|Who|Which|Whether|Why|When)\b")


def test_no_riddles() -> None:
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING) and (word := WORDS.search(token.string)):
                found.append(f"{path.relative_to(SOURCES)}:{token.start[0]}: {word[0]}")
    assert found == []


def test_docstrings_start_with_a_verb_or_a_noun() -> None:
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if START.match(text):
                    found.append(f"{path.relative_to(SOURCES)}: {text.splitlines()[0]}")
    assert found == []
