"""`clipstore label`: draw images to be labelled, and bring labels in."""

from pathlib import Path

import click

from clipstore.commands import project

THUMBNAIL = 128  # pixels of the longer side, on contact sheets


@click.group()
def label() -> None:
    """Draw images at random, and import labels.

    Labels are kept in data/labels/DATASET.csv, which belongs in git.
    """


@label.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("dataset")
def import_(file: Path, dataset: str) -> None:
    """Add the labels in FILE to those of DATASET; all of them, or none.

    FILE is a CSV file (columns class_name and sha256, path or image_id; optionally source), an export of Label Studio (JSON, JSON_MIN or
    CSV), or a folder of class folders with copies of images.

    \b
    Example:
      clipstore label import ~/Downloads/project-1.json birds
    """
    before = project.enter()
    from clipstore.data import labels
    from clipstore.labelling import answers, merging

    index = project.index_of(dataset)
    path, file = labels.path_of(dataset), project.given(file, before)
    labels.create(dataset)
    merged = merging.merge(answers.read(file), index, labels.read(path), str(file))
    for line in merged.notes:
        click.echo(f"{file}: {line}")
    if merged.added.empty:
        click.echo(f"{path}: nothing new, unchanged")
        return
    labels.write(path, merged.rows)
    purposes = ", ".join(f"{number} {purpose}" for purpose, number in merged.added["purpose"].value_counts().sort_index().items())
    click.echo(f"{path}: {len(merged.added)} labels added in round {merged.added['round'].iloc[0]} ({purposes})")
    _next(path, "dvc repro")


@label.command(context_settings={"ignore_unknown_options": True})  # so that -5 is a wrong number, not an unknown option
@click.argument("n", type=click.IntRange(min=0))
@click.argument("dataset")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
def sample(n: int, dataset: str, seed: int) -> None:
    """Draw N images of DATASET at random, to be labelled.

    The accuracy stated for unlabelled images comes from these images alone. They are drawn from the images that are neither labelled nor
    drawn yet, and listed in data/label_sample/DATASET.csv with those drawn before that have no label. N = 0 writes that list again.

    \b
    Example: fill in the column class_name, then import the file
      clipstore label sample 50 birds
      clipstore label import data/label_sample/birds.csv birds
    """
    project.enter()
    from clipstore.core import atomic
    from clipstore.data import labels
    from clipstore.labelling import label_studio, sampling, sheets
    from clipstore.labelling.sheets import Entry
    from clipstore.report.gallery import Thumbnails

    index = project.index_of(dataset)
    path, listing = labels.path_of(dataset), Path(f"data/label_sample/{dataset}.csv")
    labels.create(dataset)
    known = labels.read(path)
    sampling.check_imported(listing, known)
    rows = sampling.draw(index, known, n, seed)
    if n:
        labels.write(path, rows)
    waiting = sampling.waiting(index, rows)
    table = waiting[["rank", "path", "sha256"]].assign(class_name="").to_csv(index=False, lineterminator="\n")
    atomic.write(listing, lambda temporary: temporary.write_text(table))
    entries = [Entry(*names) for names in zip(waiting["image_id"], waiting["path"], waiting["sha256"], strict=True)]
    text = f"Write down the class of each image, or “{labels.NONE}”, in {listing}, and run: clipstore label import {listing} {dataset}"
    sheets.write(listing.with_suffix(""), f"{dataset}: images drawn at random", text, entries, Thumbnails(index, THUMBNAIL))
    listing.with_suffix(".json").write_text(label_studio.dumps(entries, ""))
    listing.with_suffix(".xml").write_text(label_studio.config(index.classes))
    click.echo(f"{path}: {n} drawn with seed {seed}")
    click.echo(f"{listing}: {len(waiting)} images without a label")
    _next(path, f"label them, then clipstore label import {listing} {dataset}")


def _next(path: Path, then: str) -> None:
    """Say what to do next. DVC copies only files that git knows into the folder of `dvc exp run --temp`."""
    click.echo(f"next: git add {path}; {then}", err=True)
