"""Count what the style guide speaks of: `python tests/style.py [-v]` prints a table.

Columns, per room: lines; the name ``Any`` per 1,000 lines; assigned names and parameters
that say nothing (``found``, ``made`` ...) in percent; lines of code for one comment.
A line of code is one that is neither blank nor part of a docstring.
"""

import ast
import functools
import io
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "rgcam"
VAGUE = frozenset(
    "about again asked chosen fine found given gone got had here it kept known left_over "
    "made meant most mine own plain put rest seen stuff taken tell that there thing "
    "things this told wanted way what whole wish".split()
)
DENSE = (
    "attribution/causal.py",
    "attribution/gradcam.py",
    "attribution/gradients.py",
    "attribution/perturbation.py",
    "attribution/long.py",
    "attribution/maps.py",
)


@dataclass
class Counts:
    """What was counted in some files."""

    lines: int = 0
    code: int = 0
    comments: int = 0
    any_names: int = 0
    names: int = 0
    vague: int = 0
    unpacked_literals: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        """Add the counts of other files."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@functools.cache
def count(path: Path) -> Counts:
    """Count one file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    counts = Counts(lines=source.count("\n"))
    counts.comments = sum(_is_prose(token) for token in _comments(source))
    counts.code = len(_code_lines(source) - _docstring_lines(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "Any":
            counts.any_names += 1
            counts.places.append(f"{path}:{node.lineno}: Any")
        if isinstance(node, ast.Call) and _unpacks_literal(node):
            counts.unpacked_literals += 1
            counts.places.append(f"{path}:{node.lineno}: a literal unpacked in a call")
        for name in _bound(node):
            counts.names += 1
            if name.strip("_") in VAGUE:
                counts.vague += 1
                counts.places.append(f"{path}:{node.lineno}: {name}")
    return counts


def _comments(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def _is_prose(comment: str) -> bool:
    """Tell a comment from a directive to a tool that gives no reason."""
    text = comment.lstrip("# ")
    return not (text.startswith(("noqa", "pyrefly:", "type:")) and "  " not in text)


def _code_lines(source: str) -> set[int]:
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (*skipped, tokenize.INDENT, tokenize.DEDENT):
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def _docstring_lines(tree: ast.AST) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def _unpacks_literal(call: ast.Call) -> bool:
    starred = (a.value for a in call.args if isinstance(a, ast.Starred))
    doubled = (k.value for k in call.keywords if k.arg is None)
    return any(
        isinstance(value, (ast.Tuple, ast.Dict)) for value in [*starred, *doubled]
    )


def _bound(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return [node.id]
    if isinstance(node, ast.arg):
        return [node.arg]
    return []


def count_all(paths: list[Path]) -> Counts:
    """Add up several files."""
    total = Counts()
    for path in paths:
        total.add(count(path))
    return total


def dense_maths() -> list[Path]:
    """Return the files whose comments follow a derivation."""
    return [PACKAGE / name for name in DENSE]


def package_files() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def main() -> None:
    """Print the table."""
    rooms: dict[str, list[Path]] = {}
    for path in package_files():
        parts = path.relative_to(PACKAGE).parts
        rooms.setdefault(parts[0] if len(parts) > 1 else "(ground)", []).append(path)
    rooms["dense maths"], rooms["all"] = dense_maths(), package_files()
    print(f"{'room':14}{'lines':>7}{'Any/1000':>10}{'vague %':>9}{'code/comment':>14}")
    for room, paths in rooms.items():
        c = count_all(paths)
        per_comment = c.code / max(c.comments, 1)
        print(
            f"{room:14}{c.lines:7}{1000 * c.any_names / c.lines:10.1f}"
            f"{100 * c.vague / max(c.names, 1):9.2f}{per_comment:14.1f}"
        )
        if "-v" in sys.argv and room != "all":
            print(*sorted(c.places), sep="\n")
            print(
                *Counter(p.rsplit(": ")[-1] for p in c.places).most_common(), sep="\n"
            )


if __name__ == "__main__":
    main()
