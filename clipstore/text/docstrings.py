"""English prose that every CPython carries: the topics of its reference manual and the docstrings of its standard library.

Both are under Python's own licence; what a run took lies in data/raw alone. Another version of Python has slightly other texts.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "pydoc_data"}  # not the library's prose
WORDS = 5  # a paragraph of fewer is a heading or a signature


def sources() -> Iterator[tuple[str, list[str]]]:
    """Yield (name, texts) of every topic and every module, in an order that depends on nothing but their names."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield f"topic {name}", [topics[name]]
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root)
        if not LEFT_OUT & set(module.parts):
            nodes = ast.walk(ast.parse(path.read_bytes()))
            written = [ast.get_docstring(node) for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
            yield module.as_posix(), [text for text in written if text]


def paragraphs(texts: list[str]) -> list[str]:
    """Return the paragraphs of prose in ``texts``, each on one line; sessions of the interpreter and headings are none."""
    found = [" ".join(paragraph.split()) for text in texts for paragraph in re.split(r"\n\s*\n", text)]
    return [line for line in found if not line.startswith(">>>") and len(line.split()) >= WORDS]
