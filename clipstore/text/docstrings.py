"""English prose shipped with every CPython: the topics of its reference manual and the docstrings of its standard library.

Both are under Python's licence, and a run copies them only to data/raw. The texts differ slightly between Python versions.
"""

import ast
import json
import platform
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from clipstore.core.datasets import PythonDocs
from clipstore.data.index import SPLITS
from clipstore.text import texts

EXCLUDED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "pydoc_data"}  # not prose of the library
MIN_WORDS = 5  # a shorter paragraph is a heading or a signature


def sources() -> Iterator[tuple[str, list[str]]]:
    """Yield (name, texts) of every topic and every module, in an order that depends only on their names."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"topic {name}", [topics[name]]
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        if not EXCLUDED & set(module.parts):
            nodes = ast.walk(ast.parse(path.read_bytes()))
            docstrings = [ast.get_docstring(node) for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
            yield module.as_posix(), [text for text in docstrings if text]


def paragraphs(sections: list[str]) -> list[str]:
    """Return the paragraphs of prose in ``sections``, each as one line, without interpreter sessions and headings."""
    lines = [" ".join(paragraph.split()) for section in sections for paragraph in re.split(r"\n\s*\n", section)]
    return [line for line in lines if not line.startswith(">>>") and len(line.split()) >= MIN_WORDS]


def write(entry: PythonDocs, root: Path) -> int:
    """Write the paragraphs below ``root``, split by module or topic; return their number.

    A paragraph that occurs in several modules belongs to the first of them.
    """
    split_of_paragraph: dict[str, str] = {}
    for name, sections in sources():
        split = texts.split_of(name, entry.val, entry.test, entry.seed)
        for paragraph in paragraphs(sections):
            split_of_paragraph.setdefault(paragraph, split)
    for split in SPLITS:
        texts.write(root / f"{split}.txt", (paragraph for paragraph, other in split_of_paragraph.items() if other == split))
    (root / "about.json").write_text(json.dumps({"python": platform.python_version()}) + "\n")
    return len(split_of_paragraph)
