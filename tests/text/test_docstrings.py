"""The sample's prose: paragraphs of docstrings, without interpreter sessions and headings."""

import ast
import json
import platform
import sysconfig
from pathlib import Path

import pytest

from clipstore.core.datasets import PythonDocs
from clipstore.data.index import SPLITS
from clipstore.text import docstrings

MODULE = '''"""First paragraph, on two
lines of source.

Heading
=======

>>> print("a session of the interpreter")
a session of the interpreter

Last paragraph of the five words."""


class Thing:
    """A thing is what has a name."""

    def method(self):
        """Return nothing, and return it soon."""
        "This is a string and no docstring."

    def bare(self):
        pass
'''


def test_paragraphs_are_lines_of_prose() -> None:
    text = ast.get_docstring(ast.parse(MODULE))
    assert text is not None
    assert docstrings.paragraphs([text]) == ["First paragraph, on two lines of source.", "Last paragraph of the five words."]


def test_a_blank_line_may_contain_spaces() -> None:
    assert docstrings.paragraphs(["one two three four five\n  \nsix seven eight nine ten"]) == [
        "one two three four five",
        "six seven eight nine ten",
    ]


def test_modules_come_in_the_order_of_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zebra.py", "pkg/b.py", "pkg/__init__.py", "a.py", "test/of.py", "pkg/tests/of.py", "site-packages/other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(MODULE if name == "a.py" else "x = 1\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    sources = [(name, texts) for name, texts in docstrings.sources() if not name.startswith("topic ")]
    assert [name for name, _ in sources] == ["a.py", "pkg/__init__.py", "pkg/b.py", "zebra.py"]
    assert [text.split()[0] for text in sources[0][1]] == ["First", "A", "Return"]
    assert [texts for _, texts in sources[1:]] == [[], [], []]


@pytest.mark.slow
def test_pythons_prose_is_large_enough_for_a_vocabulary() -> None:
    """It has at least 1 MB."""
    sources = list(docstrings.sources())
    names = [name for name, _ in sources]
    topics = [name for name in names if name.startswith("topic ")]
    assert names[: len(topics)] == sorted(topics)
    assert {"topic assignment", "argparse.py", "json/__init__.py"} <= set(names)
    lines = [line for _, texts in sources for line in docstrings.paragraphs(texts)]
    assert sum(len(line.encode()) for line in lines) > 1_000_000
    assert not any("\n" in line or line.startswith(">>>") or len(line.split()) < 5 for line in lines)


def test_pythons_documentation_is_split_by_module(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paragraph that occurs in several modules belongs to the first; a module's split depends on its name."""
    modules = {
        f"m{at}.py": [f"Paragraph {number} of the module m{at}." for number in range(3)] + ["This one stands in all."]
        for at in range(3, 62)
    }
    monkeypatch.setattr(docstrings, "sources", lambda: iter(modules.items()))
    root = Path("data/raw/docs")
    assert docstrings.write(PythonDocs(kind="python_docs", val=0.1, test=0.1, seed=0), root) == 178
    written = {split: Path(f"data/raw/docs/{split}.txt").read_text().splitlines() for split in SPLITS}
    assert all(written.values())
    homes = {line.split()[-1]: split for split, lines in written.items() for line in lines}
    for split, lines in written.items():
        assert all(homes[line.split()[-1]] == split for line in lines)
    assert [split for split, lines in written.items() if "This one stands in all." in lines] == [homes["m3."]] == ["val"]
    assert json.loads(Path("data/raw/docs/about.json").read_text()) == {"python": platform.python_version()}
