"""Write the report: `dvc repro -s report`.

Reads what the axes name: metrics, plots, predictions, answers, lists of what to label next, findings of the audit, embeddings and index for
the galleries, printed networks, contracts and encoder.json of the weights, and report/application.md. Writes report/index.html, one file
that opens from disk. What differs between equal runs is on a page beside it, which DVC does not track: report/runs.html, from git and
data/runs.jsonl.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from clipstore.core import digests
from clipstore.core.datasets import Dataset
from clipstore.core.encoders import Encoder, GardenClip
from clipstore.core.errors import InputError
from clipstore.core.params import Section, Slug, section
from clipstore.core.rows import UNLABELLED
from clipstore.core.schema import Axes
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.encoders.info import folder, read_info
from clipstore.report import examples, page, provenance, samples, sections, sentences, unlabelled
from clipstore.report.gallery import Thumbnails
from clipstore.report.vega import draw
from clipstore.store import answers, embeddings
from clipstore.store.approaches import APPROACHES, cells, read_all, readable
from clipstore.store.predictions import Predictions

TARGET = Path("report/index.html")
RUNS_PAGE = TARGET.with_name("runs.html")
LARGEST = 10_000_000  # bytes
BEST = 2  # approaches of a data set that have galleries


class Report(Section):
    """How many pictures the report shows, and how large they are."""

    thumbnail_size: int = Field(ge=16, le=512, description="Longer side of a thumbnail, in pixels.")
    gallery: int = Field(ge=1, description="Images of each kind in a gallery.")
    findings: int = Field(ge=0, description="Findings of each kind of the audit to show.")
    answers: int = Field(ge=0, description="Images on the contact sheets of a data set's answers, all classes together.")


def answers_of(indexed: index.Index, approaches: dict[str, Predictions], axes: Axes, settings: Report) -> dict[str, Any] | None:
    """Return what the page shows about images without a class and about the random sample; None if a data set has neither."""
    rows = indexed.usable
    if not ((rows["split"] == UNLABELLED) | (rows["purpose"] == "test")).any():
        return None
    name = indexed.dataset
    answered = answers.read(name, indexed.digest)
    image_of = dict(zip(rows["path"], rows["image_id"], strict=True))
    listed = answered.rows.assign(image_id=answered.rows["path"].map(image_of))
    found = unlabelled.sheets(listed, settings.gallery, settings.answers)
    given = {sheet.class_name for sheet in found}
    return {
        "notes": answered.notes,
        "count": len(listed),
        "accuracy": sentences.accuracy(name, samples.of(indexed, approaches[approach])) if (approach := answered.notes.approach) else [],
        "sheets": found,
        "without": [class_name for class_name in indexed.classes if class_name not in given] if found else [],
        "similar": [{"encoder": encoder, "pairs": unlabelled.similar_names(name, encoder)} for encoder in axes.zero_shot],
        "next": unlabelled.label_next(name, axes.encoders, image_of, settings.gallery),
    }


def of_dataset(name: str, entry: Dataset, axes: Axes, settings: Report) -> dict[str, Any]:
    """Return everything that the page shows for one data set."""
    sections.existing(index.path_of(name))
    indexed = index.read(name)
    results = sections.results(json.loads(sections.existing(Path(f"metrics/{name}.json")).read_text()))
    titles = [row["title"] for row in results]
    approaches = {approach.title: approach for approach in read_all(name, cells(axes), indexed.digest)}
    if set(approaches) != set(titles):
        raise InputError(f"metrics/{name}.json: has {', '.join(titles)}; the axes name {', '.join(approaches)}: run `dvc repro`")
    rows = [row for row in results if "not_yet" not in row]
    pairs = sections.table(Path(f"plots/score/{name}/pairs.csv"))
    counts = {split: int((indexed.usable["split"] == split).sum()) for split in (*index.SPLITS, UNLABELLED)}
    return {
        "name": name,
        "description": sentences.description(name, entry, len(indexed.classes), counts),
        "warning": sentences.warning(entry),
        "doubts": indexed.notes.get("warnings", [])
        + [f"{encoder}: {line}" for encoder in axes.zero_shot for line in embeddings.text_warnings(encoder, name)],
        "classes": len(indexed.classes),
        "answers": answers_of(indexed, approaches, axes, settings),
        "rows": rows,
        "not_yet": [row for row in results if "not_yet" in row],
        "headline": sentences.headline(rows, len(rows) < len(results)),
        "sentences": sentences.of_pairs(pairs, titles),
        "curves": sections.curves(name),
        "sweeps": sections.sweeps(name, axes),
        "few_shot": sections.few_shot(name, axes.encoders),
        "simulation": sections.simulation(name, axes.encoders),
        "prompts": sections.prompts(name, axes.zero_shot),
        "calibration": sections.calibration(name, rows),
        "confusion": sections.confusion(name, rows),
        "per_class": sections.per_class(name, rows),
        "galleries": examples.galleries(name, [approaches[row["title"]] for row in rows[:BEST]], axes.encoders, settings.gallery),
        "audits": examples.audit_findings(name, axes.encoders, settings.findings),
        "leaked": rows[0].get("leaked", 0) if rows else 0,
        "thumbnail": Thumbnails(indexed, settings.thumbnail_size),
    }


def of_corpus(name: str, entry: Dataset) -> dict[str, Any]:
    """Return everything that the page shows for one corpus."""
    folder_of_plots = Path("plots/tokenizers") / name
    metrics = json.loads(sections.existing(Path(f"metrics/tokenizers-{name}.json")).read_text())
    captions = {
        "fertility": "Tokens per word of test: the fewer, the shorter an encoded text.",
        "lengths": "Lengths of the tokens in test.",
        "ranks": "How often each token occurs in test, the most frequent first.",
    }
    drawings = [
        draw(
            plot,
            sections.table(folder_of_plots / f"{plot}.csv"),
            f"{name}-{plot}",
            f"{plot} of the tokenizers on {name}",
            caption,
        )
        for plot, caption in captions.items()
    ]
    encoded = sections.table(folder_of_plots / "sentences.csv")
    encodings = [
        {
            "name": sentence,
            **facts,
            "tokens": {
                str(tokenizer): sections.records(rows[["token", "id"]])
                for tokenizer, rows in encoded[encoded["sentence"] == sentence].groupby("tokenizer", sort=False)
            },
        }
        for sentence, facts in metrics["sentences"].items()
    ]
    return {
        "name": name,
        "description": f"{sentences.source(name, entry)}.",
        "measures": metrics["tokenizers"],
        "overlap": metrics["overlap"],
        "figures": drawings,
        "sentences": encodings,
    }


def networks(axes: Axes) -> list[dict[str, str]]:
    """Return the printed layers of every network that was trained."""
    trained = {approach.stage for approach in APPROACHES if approach.trains == "network"}
    return [
        {
            "title": f"{readable(f'{stage} {name}')} on {dataset}",
            "text": sections.existing(Path(f"data/checkpoints/{stage}/{name}-{dataset}/network.txt")).read_text(),
        }
        for dataset in axes.datasets
        for stage, name in cells(axes)
        if stage in trained
    ]


def provenance_of(axes: Axes) -> dict[str, Any]:
    """Return parameters, digests and versions."""
    paths = {
        f"{encoder}-{dataset}": Path(f"data/embeddings/{encoder}-{dataset}/contract.json")
        for dataset in axes.datasets
        for encoder in axes.encoders
    }
    contracts = {cell: json.loads(sections.existing(path).read_text()) for cell, path in paths.items()}
    return {
        "parameters": Path("params.yaml").read_text(),
        "contracts": [{"cell": cell, "digest": digests.json_sha256(contract), **contract} for cell, contract in contracts.items()],
        "weights": [read_info(name) for name in axes.weights if sections.existing(folder(name) / "encoder.json")],
        "indices": {name: index.read(name).digest for name in axes.datasets},
        "versions": provenance.versions(),
    }


def main() -> dict[str, Any]:
    """Write the page."""
    axes, settings = section(Axes, "axes"), section(Report, "report")
    tables = section(dict[Slug, Dataset], "datasets")
    datasets = [of_dataset(name, tables[name], axes, settings) for name in axes.datasets]
    text = page.render(
        "report.html.j2",
        {
            "axes": axes,
            "datasets": datasets,
            "corpora": [of_corpus(name, tables[name]) for name in axes.corpora],
            "networks": networks(axes),
            "provenance": provenance_of(axes),
            "drawn_weights": [name for name, entry in section(dict[Slug, Encoder], "encoders").items() if isinstance(entry, GardenClip)],
            "meanings": sentences.MEANINGS,
            "application": page.markdown(sections.existing(Path("report/application.md")).read_text(encoding="utf-8")),
        },
    )
    content = text.encode()
    if len(content) > LARGEST:
        raise InputError(
            f"params.yaml: report: the page has {len(content):,} bytes, more than {LARGEST:,}: "
            "lower report.thumbnail_size, gallery, findings or answers"
        )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(content)
    names = {name for axis in axes.model_dump().values() for name in axis}
    runs = provenance.last_runs(Path("data/runs.jsonl"), names)
    RUNS_PAGE.write_text(page.render("runs.html.j2", {"git": provenance.commit(), "runs": runs}), encoding="utf-8")
    print(f"report: {TARGET}, {len(content) / 1e6:.1f} MB")
    return {"bytes": len(content)}


if __name__ == "__main__":
    run(main)
