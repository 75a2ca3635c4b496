"""The tables of params.yaml (axes, data sets, prompts, encoders, nets) and the checks across them.

Facts about a data set, an encoder or a net belong in its table, never in Python. `clipstore.core.datasets`, `clipstore.core.encoders` and
`clipstore.core.nets` describe the entries of the larger tables.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from clipstore.core.datasets import Dataset, Folder, Text, Texts
from clipstore.core.encoders import Encoder, LocalFile, OpenClipRepository, Timm, Torchvision
from clipstore.core.nets import FineTune, Net, Scratch
from clipstore.core.params import Names, Section, Slug


def _prompt(text: str) -> str:
    if text.count("{}") != 1 or text.replace("{}", "").count("{") + text.replace("{}", "").count("}"):
        raise ValueError("a prompt must contain {} exactly once, in place of the class name, and no other brace")
    return text


Prompt = Annotated[str, AfterValidator(_prompt)]
Prompts = Annotated[tuple[Prompt, ...], Field(min_length=1)]


class Axes(Section):
    """The cells to run: each axis lists entries of the tables."""

    download: Names = Field(description="Data sets to download or generate: names of `datasets`.")
    datasets: Names = Field(description="Data sets of images: names of `datasets`. One not on `download` must be in data/raw.")
    weights: Names = Field(description="Encoders whose weights are prepared: names of `encoders`.")
    encoders: Names = Field(description="Encoders that embed images: names on `weights`.")
    zero_shot: Names = Field(description="Encoders that classify zero-shot: names on `encoders` with a text tower.")
    finetune: Names = Field(description="Networks to fine-tune: names of `nets` of kind finetune, with weights on `weights`.")
    scratch: Names = Field(description="Networks to train from scratch: names of `nets` of kind scratch.")
    corpora: Names = Field(
        description="Texts for the tokenizers: names of `datasets` with text. One not on `download` must be in data/raw."
    )


class Tables(Section):
    """All of params.yaml except the sections of the stages."""

    seed: int = Field(ge=0, description="Seed of training; used by weights, finetune and scratch.")
    axes: Axes
    datasets: dict[Slug, Dataset] = Field(description="Images and texts, and where they come from. The key is the name to use on `axes`.")
    prompts: dict[Slug, Prompts] = Field(
        description="Prompts of each data set; {} is replaced by the class name. Several prompts make an ensemble."
    )
    encoders: dict[Slug, Encoder] = Field(description="Encoders, and where their weights come from. The key is the name to use on `axes`.")
    nets: dict[Slug, Net] = Field(
        description="Networks, and how they are trained. One of kind finetune starts from the weights of the same name."
    )


def problems(tables: Tables) -> list[str]:
    """Return one line for each unusable name on an axis: not in its table, of the wrong kind, listed twice, or without its files.

    Axes are checked in order, and the check stops at the first axis with a problem, since later axes depend on it.
    """
    axes = tables.axes
    corpora = [name for name, entry in tables.datasets.items() if isinstance(entry, Texts)]
    downloadable = [name for name, entry in tables.datasets.items() if not isinstance(entry, Folder | Text)]
    with_texts = [name for name in axes.encoders if name in tables.encoders and not isinstance(tables.encoders[name], Timm | Torchvision)]
    tuned = [name for name, net in tables.nets.items() if isinstance(net, FineTune) and name in axes.weights]
    scratch = [name for name, net in tables.nets.items() if isinstance(net, Scratch)]
    allowed = {
        "download": (axes.download, downloadable, "data sets that can be downloaded"),
        "datasets": (axes.datasets, [name for name in tables.datasets if name not in corpora], "entries of datasets with images"),
        "weights": (axes.weights, list(tables.encoders), "entries of encoders"),
        "encoders": (axes.encoders, list(axes.weights), "names in axes.weights"),
        "zero_shot": (axes.zero_shot, with_texts, "names in axes.encoders with a text tower"),
        "finetune": (axes.finetune, tuned, "nets of kind finetune with weights in axes.weights"),
        "scratch": (axes.scratch, scratch, "nets of kind scratch"),
        "corpora": (axes.corpora, corpora, "entries of datasets with text"),
    }
    lines = []
    for axis, (names, known, expected) in allowed.items():
        lines += [f"axes.{axis} = {name!r}: expected {expected}: {', '.join(known) or 'none'}" for name in names if name not in known]
        lines += [f"axes.{axis} = {name!r} is listed twice" for name in sorted(set(names)) if names.count(name) > 1]
        if lines:
            return lines
    for name in axes.weights:
        entry = tables.encoders[name]
        problem = entry.problem() if isinstance(entry, LocalFile | OpenClipRepository) else None
        lines += [f"encoders.{name}: {problem}"] if problem else []
    for name in axes.datasets:
        if axes.zero_shot and name not in tables.prompts:
            lines.append(f"prompts.{name} is missing; axes.zero_shot needs a list of prompts such as 'A photo of a {{}}.'")
    for axis, files in (("datasets", "class folders or a manifest.csv"), ("corpora", ".txt or .parquet files")):
        for name in getattr(axes, axis):
            root = Path("data/raw") / name
            if name not in axes.download and not root.is_dir():
                lines.append(f"axes.{axis} = {name!r}: no folder {root}; put {files} there, or add it to axes.download")
    return lines
