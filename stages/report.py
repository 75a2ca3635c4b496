"""Write the report: python -m stages.report.

Reads what the axes name: metrics, plots, predictions, findings of the audit, embeddings and index for the galleries, printouts, contracts
and weights' cards, and report/application.md; beside them, for its provenance alone, data/runs.jsonl and git. Writes report/index.html,
one file that opens from disk.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from clipstore.core import digests
from clipstore.core.datasets import Dataset, Digits, Garden
from clipstore.core.encoders import Encoder, GardenClip
from clipstore.core.errors import InputError
from clipstore.core.params import Section, Slug, section
from clipstore.core.schema import Axes
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.encoders import info
from clipstore.report import examples, figures, page, sections
from clipstore.report import provenance as origins
from clipstore.report import sentences as readings
from clipstore.report.figures import Series
from clipstore.report.gallery import Thumbnails
from clipstore.report.page import Figure
from clipstore.store import approaches

TARGET = Path("report/index.html")
LARGEST = 10_000_000  # bytes
BEST = 2  # approaches of a data set that have galleries


class Report(Section):
    """How many pictures the report shows, and how large they are."""

    thumbnail_size: int = Field(ge=16, le=512)  # of a thumbnail's longer side
    gallery: int = Field(ge=1)  # images of each kind in a gallery
    findings: int = Field(ge=0)  # of each kind of the audit


def of_dataset(name: str, axes: Axes, settings: Report) -> dict[str, Any]:
    """Return everything that the page says of one data set."""
    sections.existing(index.path_of(name))
    indexed = index.read(name)
    rows = sections.results(json.loads(sections.existing(Path(f"metrics/{name}.json")).read_text()))
    titles = [row["title"] for row in rows]
    read = {one.title: one for one in approaches.read_all(name, approaches.approaches(axes), indexed.digest)}
    if set(read) != set(titles):
        raise InputError(f"metrics/{name}.json: has {', '.join(titles)}; the axes name {', '.join(read)}: run `dvc repro`")
    pairs = sections.table(Path(f"plots/score/{name}/pairs.csv"))
    return {
        "name": name,
        "classes": len(indexed.classes),
        "counts": {split: int((indexed.usable["split"] == split).sum()) for split in index.SPLITS},
        "rows": rows,
        "headline": readings.headline(rows),
        "sentences": readings.of_pairs(pairs, titles),
        "curves": sections.curves(name),
        "sweeps": sections.sweeps(name, axes.encoders),
        "few_shot": sections.few_shot(name, axes.encoders),
        "prompts": sections.prompts(name, axes.zero_shot),
        "calibration": sections.calibration(name, rows),
        "confusion": sections.confusion(name, rows),
        "per_class": sections.per_class(name, rows),
        "galleries": examples.galleries(name, [read[title] for title in titles[:BEST]], axes.encoders, settings.gallery),
        "audits": examples.audits(name, axes.encoders, settings.findings),
        "thumbnail": Thumbnails(indexed, settings.thumbnail_size),
    }


def of_corpus(name: str) -> dict[str, Any]:
    """Return everything that the page says of one corpus."""
    folder = Path("plots/tokenizers") / name
    metrics = json.loads(sections.existing(Path(f"metrics/tokenizers-{name}.json")).read_text())
    wanted = {
        "fertility": (
            "vocab_size",
            "fertility",
            "tokens in the vocabulary",
            "tokens a word of test",
            "",
            "Tokens a word of test: the fewer, the shorter a text becomes.",
        ),
        "lengths": (
            "length",
            "share",
            "characters of a token",
            "share of the tokens of test",
            "",
            "How long the tokens are that test uses.",
        ),
        "ranks": ("rank", "count", "rank of a token", "times it occurs in test", "xy", "How often each token occurs, the commonest first."),
    }
    found = []
    for plot, (x, y, x_label, y_label, log, caption) in wanted.items():
        frame = sections.table(folder / f"{plot}.csv")
        series = [
            Series(str(key), list(some[x]), list(some[y]), None, at, at)
            for at, (key, some) in enumerate(frame.groupby("series", sort=False))
        ]
        found.append(Figure(figures.lines(f"{name}-{plot}", f"{plot} of the tokenizers on {name}", series, x_label, y_label, log), caption))
    encoded = pd.read_csv(sections.existing(folder / "sentences.csv"), keep_default_na=False, dtype={"token": str})
    sentences = [
        {
            "name": sentence,
            **facts,
            "tokens": {
                str(tokenizer): sections.records(some[["token", "id"]])
                for tokenizer, some in encoded[encoded["sentence"] == sentence].groupby("tokenizer", sort=False)
            },
        }
        for sentence, facts in metrics["sentences"].items()
    ]
    return {"name": name, "measures": metrics["tokenizers"], "overlap": metrics["overlap"], "figures": found, "sentences": sentences}


def networks(axes: Axes) -> list[dict[str, str]]:
    """Return the printout of every network that was trained."""
    cells = [("finetune", name) for name in axes.finetune] + [("scratch", name) for name in axes.scratch]
    return [
        {
            "title": f"{readings.called(f'{stage} {name}')} on {dataset}",
            "text": sections.existing(Path(f"data/checkpoints/{stage}/{name}-{dataset}/network.txt")).read_text(),
        }
        for dataset in axes.datasets
        for stage, name in cells
    ]


def provenance(axes: Axes) -> dict[str, Any]:
    """Return commit, parameters, digests, versions, and what every stage took."""
    named = {*axes.datasets, *axes.download, *axes.corpora, *axes.weights, *axes.encoders, *axes.finetune, *axes.scratch}
    paths = {
        f"{encoder}-{dataset}": Path(f"data/embeddings/{encoder}-{dataset}/contract.json")
        for dataset in axes.datasets
        for encoder in axes.encoders
    }
    contracts = {cell: json.loads(sections.existing(path).read_text()) for cell, path in paths.items()}
    return {
        "git": origins.commit(),
        "parameters": Path("params.yaml").read_text(),
        "contracts": [{"cell": cell, "digest": digests.json_sha256(contract), **contract} for cell, contract in contracts.items()],
        "weights": [info.read_info(name) for name in axes.weights if sections.existing(info.folder(name) / "encoder.json")],
        "indices": {name: index.read(name).digest for name in axes.datasets},
        "versions": origins.versions(),
        "runs": origins.last_runs(Path("data/runs.jsonl"), named),
    }


def main() -> dict[str, Any]:
    """Write the page."""
    axes, settings = section(Axes, "axes"), section(Report, "report")
    tables = section(dict[Slug, Dataset], "datasets")
    datasets = [of_dataset(name, axes, settings) for name in axes.datasets]
    text = page.render(
        {
            "axes": axes,
            "datasets": datasets,
            "corpora": [of_corpus(name) for name in axes.corpora],
            "networks": networks(axes),
            "provenance": provenance(axes),
            "drawn_weights": [name for name, entry in section(dict[Slug, Encoder], "encoders").items() if isinstance(entry, GardenClip)],
            "drawn": [name for name in axes.datasets if isinstance(tables[name], Garden)],
            "scans": [name for name in axes.datasets if isinstance(tables[name], Digits)],
            "application": page.markdown(sections.existing(Path("report/application.md")).read_text(encoding="utf-8")),
        }
    )
    content = text.encode()
    if len(content) > LARGEST:
        raise InputError(
            f"params.yaml: report: the page has {len(content):,} bytes, more than {LARGEST:,}: "
            "lower report.thumbnail_size, gallery or findings"
        )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(content)
    print(f"report: {TARGET}, {len(content) / 1e6:.1f} MB")
    return {"bytes": len(content)}


if __name__ == "__main__":
    run(main)
