"""Check params.yaml before any work: python -m stages.validate.

Reads all of params.yaml. A wrong value stops `dvc repro` here, before DVC removes what the stage that uses it had made: every other stage
comes after data/params_checked, whose content never changes, so that a new value re-runs only the stages that use it.
"""

from pathlib import Path

from pydantic import Field

from clipstore.core.errors import InputError
from clipstore.core.params import Section, check, load
from clipstore.core.schema import (
    Axes,
    Dataset,
    Encoder,
    FineTune,
    Folder,
    LocalFile,
    Net,
    Prompts,
    Scratch,
    Slug,
    Text,
    Texts,
    Timm,
    Torchvision,
)
from clipstore.core.stage import run
from stages.audit import Audit
from stages.corpus import Corpus
from stages.embed_images import EmbedImages
from stages.embed_texts import EmbedTexts
from stages.few_shot import FewShot
from stages.index import Index
from stages.knn import Knn
from stages.linear_probe import LinearProbe
from stages.report import Report
from stages.score import Score
from stages.tokenizers import Tokenizers

CHECKED = Path("data/params_checked")


class Params(Section):
    """All of params.yaml."""

    seed: int = Field(ge=0)
    axes: Axes
    datasets: dict[Slug, Dataset]
    prompts: dict[Slug, Prompts]
    encoders: dict[Slug, Encoder]
    nets: dict[Slug, Net]
    index: Index
    corpus: Corpus
    tokenizers: Tokenizers
    embed_images: EmbedImages
    embed_texts: EmbedTexts
    linear_probe: LinearProbe
    knn: Knn
    score: Score
    few_shot: FewShot
    audit: Audit
    report: Report


def problems(params: Params) -> list[str]:
    """Return a line for each name on an axis that the tables or the other axes do not bear out."""
    axes = params.axes
    text = [name for name, entry in params.datasets.items() if isinstance(entry, Texts)]
    drawn = [name for name, entry in params.datasets.items() if not isinstance(entry, Folder | Text)]
    with_texts = [name for name in axes.encoders if name in params.encoders and not isinstance(params.encoders[name], Timm | Torchvision)]
    tuned = [name for name, net in params.nets.items() if isinstance(net, FineTune)]
    own = [name for name, net in params.nets.items() if isinstance(net, Scratch)]
    allowed = {
        "download": (axes.download, drawn, "data sets that can be downloaded"),
        "datasets": (axes.datasets, [name for name in params.datasets if name not in text], "entries of datasets with images"),
        "weights": (axes.weights, list(params.encoders), "entries of encoders"),
        "encoders": (axes.encoders, list(axes.weights), "names in axes.weights"),
        "zero_shot": (axes.zero_shot, with_texts, "names in axes.encoders with a text tower"),
        "finetune": (axes.finetune, [name for name in tuned if name in axes.weights], "nets of kind finetune with weights in axes.weights"),
        "scratch": (axes.scratch, own, "nets of kind scratch"),
        "corpora": (axes.corpora, text, "entries of datasets with text"),
    }
    lines = []
    for axis, (names, known, what) in allowed.items():
        lines += [f"axes.{axis} = {name!r}: expected {what}: {', '.join(known) or 'none'}" for name in names if name not in known]
        lines += [f"axes.{axis} = {name!r} stands there twice" for name in sorted(set(names)) if names.count(name) > 1]
        if lines:
            return lines  # the axes after it build on it
    for name in axes.weights:
        entry = params.encoders[name]
        problem = entry.problem() if isinstance(entry, LocalFile) else None
        lines += [f"encoders.{name}: {problem}"] if problem else []
    for name in axes.datasets:
        if axes.zero_shot and name not in params.prompts:
            lines.append(f"prompts.{name} is missing; a list of prompts such as 'A photo of a {{}}.' is needed for axes.zero_shot")
    for axis, what in (("datasets", "class folders or a manifest.csv"), ("corpora", ".txt or .parquet files")):
        for name in getattr(axes, axis):
            root = Path("data/raw") / name
            if name not in axes.download and not root.is_dir():
                lines.append(f"axes.{axis} = {name!r}: no folder {root}; put {what} there, or name it in axes.download")
    return lines


def main() -> None:
    """Stop at the first wrong values, all of them named."""
    params = check(Params, load())
    lines = problems(params)
    if lines:
        raise InputError("\n".join(f"params.yaml: {line}" for line in lines))
    CHECKED.parent.mkdir(exist_ok=True)
    CHECKED.write_text("params.yaml is consistent\n")


if __name__ == "__main__":
    run(main)
