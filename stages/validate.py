"""Check params.yaml before any work: `dvc repro -s validate`.

Reads all of params.yaml, and lists the files of the user's own folders. A wrong value stops `dvc repro` here, before DVC removes the
outputs of the stage that uses it: every other stage depends on data/params_checked, whose content never changes, so a new value re-runs
only the stages that use it. Creates data/labels/DATASET.csv without labels for data sets that have no such file.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from pydantic import create_model

import stages
from clipstore.core.errors import InputError
from clipstore.core.params import Section, check, check_names
from clipstore.core.schema import Tables, problems
from clipstore.core.stage import run
from clipstore.data import labels
from clipstore.data.tree import walk

CHECKED = Path("data/params_checked")


def sections() -> dict[str, type[Section]]:
    """Return the model of each stage's section of params.yaml: the subclass of `Section` that the stage's module defines.

    Raises:
        ValueError: a module defines more than one.
    """
    section_of = {}
    for module_info in pkgutil.iter_modules(stages.__path__):
        if module_info.name == "validate":  # this module has no section
            continue
        module = importlib.import_module(f"stages.{module_info.name}")
        models = [
            model
            for model in vars(module).values()
            if isinstance(model, type) and issubclass(model, Section) and model.__module__ == module.__name__
        ]
        if len(models) > 1:
            raise ValueError(f"{module.__name__} defines {', '.join(model.__name__ for model in models)}: expected at most one section")
        if models:
            section_of[module_info.name] = models[0]
    return section_of


def whole() -> type[Tables]:
    """Return the model of all of params.yaml: the tables, then the sections of the stages in alphabetical order."""
    fields: dict[str, Any] = {name: (model, ...) for name, model in sections().items()}
    return create_model("Params", __base__=Tables, __doc__="All of params.yaml.", **fields)


def load() -> dict[str, Any]:
    """Return all of params.yaml. The stage depends on the file: DVC fails on values with names of several types that it has to sort."""
    import dvc.api

    values: dict[str, Any] = dvc.api.params_show("params.yaml")
    return values


def main() -> None:
    """Stop at wrong values, naming each of them; create the labels files that are missing, on which DVC makes the index depend."""
    values = load()
    check_names(values)
    params = check(whole(), values)
    lines = problems(params)
    if lines:
        raise InputError("\n".join(f"params.yaml: {line}" for line in lines))
    for name in params.axes.datasets + params.axes.corpora:
        if name not in params.axes.download:
            walk(Path("data/raw") / name)  # names what DVC would stop at, such as a broken link
    for name in params.axes.datasets:
        if labels.create(name):
            print(f"{labels.path_of(name)}: created, without labels")
    CHECKED.parent.mkdir(exist_ok=True)
    CHECKED.write_text("params.yaml is consistent\n")


if __name__ == "__main__":
    run(main)
