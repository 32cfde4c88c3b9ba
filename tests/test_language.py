"""The words and the style that the project has agreed on, in all that a person reads."""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import style

ROOT = Path(__file__).parents[1]
# Words that the field does not use -> those that it does.
REPLACED = {
    r"\b(the|a) model decides\b|\bdecided\b|\bdecisions?\b": "predicts, prediction",
    r"\bglow(s|ing)?\b": "highlighted",
    r"\bspeaks? (for|against)\b": "supports, opposes",
    r"\bcredit(s|ed)?\b": "attribution",
    r"\bCNN (shown )?beside\b|\bbeside it\b": "comparison, baseline",
    r"\b(un)?trust(ed|s|worthy)?\b": "faithfulness check passed or failed",
    r"\b(broken|right) (pictures?|maps?|explanations?)\b": "corrupted, genuine",
    r"% right\b|\bclips right\b": "accuracy",
    r"\brefus(e|es|ed|ing|al)\b": "reject, raise",
    r"\bthere (is|are) not\b": "unknown",
    r"\btold\b": "reported",
    r"\bone (folder|file) an? (class|clip|video)\b": "one ... per ...",
}
# Where a word is the name of something older, or has its everyday meaning.
ALLOWED = re.compile(
    r"aggregate=decided|^decided$|`decided`|can be told|cannot be told|be told from"
)


@functools.cache
def all_texts() -> tuple[tuple[str, str], ...]:
    """Return (place, text) for everything that a person reads."""
    return tuple(read_texts())


def read_texts() -> Iterator[tuple[str, str]]:
    """Yield (place, text) for everything that a person reads."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line
    for folder in ("rgcam", "configs", "benchmarks", "tests", "."):
        paths = (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")
        for path in sorted(paths):
            if path.name not in ("test_language.py", "style.py"):
                yield from python_texts(path)
    for path in (ROOT / "rgcam").rglob("*.[hj][ts]*"):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def python_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield comments, strings and the names of functions."""
    source = path.read_text("utf-8")
    place = path.relative_to(ROOT)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield f"{place}:{token.start[0]}", token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for offset, line in enumerate(node.value.splitlines()):
                yield f"{place}:{node.lineno + offset}", line
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{place}:{node.lineno}", node.name.replace("_", " ")


@pytest.mark.parametrize("pattern", REPLACED)
def test_words_are_those_of_the_field(pattern):
    found = [
        f"{place}: {text.strip()}"
        for place, text in all_texts()
        if re.search(pattern, text, re.IGNORECASE) and not ALLOWED.search(text)
    ]
    assert not found, f"write: {REPLACED[pattern]}\n" + "\n".join(found)


def test_types_are_named_rarely_any():
    counts = style.count_all(style.package_files())
    assert 1000 * counts.any_names / counts.lines <= 5


def test_names_say_what_they_hold():
    counts = style.count_all(style.package_files())
    assert 100 * counts.vague / counts.names <= 0.5


def test_no_literal_is_unpacked_in_a_call():
    assert style.count_all(style.package_files()).unpacked_literals == 0


def test_comments_lead_through_the_code():
    counts = style.count_all(style.package_files())
    assert counts.code / counts.comments <= 40
    dense = style.count_all(style.dense_maths())
    assert dense.code / dense.comments <= 12
