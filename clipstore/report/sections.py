"""Tables and figures of the report for one data set, from the files that the other stages wrote."""

from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.core.schema import Axes
from clipstore.report import sentences
from clipstore.report.page import Figure, sentence
from clipstore.report.vega import draw
from clipstore.store.approaches import APPROACHES, ENSEMBLE, readable

PROMPTS = 20  # in a figure, as .dvc/plots/prompts.json draws it; the table has all
# Columns of text, even where they hold digits.
WORDS = (
    *("actual", "predicted", "class_name", "nearest_class", "template", "approach", "series", "a", "b", "shots", "token", "strategy"),
    *("path", "sha256", "guess", "reason"),
)


def existing(path: Path) -> Path:
    """Return ``path`` if there is such a file.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    return path


def table(path: Path) -> pd.DataFrame:
    """Read a table of plots/; names stay text, even those that look like a number or a missing value ("007", "None")."""
    numbers = [name for name in pd.read_csv(existing(path), nrows=0).columns if name not in WORDS]
    return pd.read_csv(path, dtype=dict.fromkeys(WORDS, str), keep_default_na=False, na_values={name: [""] for name in numbers})


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as mappings of column to value."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def results(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each approach of metrics/DATASET.json with its stage, name and title.

    The best come first (see `sentences.headline`); those that have no accuracy on test yet come last, with the reason as ``not_yet``.
    """
    rows = [
        {"stage": stage, "name": name, "title": f"{stage} {name}", **measures}
        for stage, names in metrics.items()
        for name, measures in names.items()
    ]
    return sorted(rows, key=lambda row: (1, 0.0) if "not_yet" in row else (0, -row["mean_per_class"]))


def curves(dataset: str) -> list[Figure]:
    """Return accuracy and loss by epoch of every network that was trained."""
    frame = table(Path(f"plots/score/{dataset}/curves.csv"))
    frame["approach"] = frame["approach"].map(readable)
    notes = {"accuracy": " Train is measured on augmented images, which lowers it.", "loss": ""}
    return [
        draw(
            "curves",
            frame,
            f"{dataset}-{measure}",
            f"{measure} by epoch on {dataset}",
            f"{measure.capitalize()} by epoch.{note}",
            measure,
        )
        for measure, note in notes.items()
        if len(frame)
    ]


def sweeps(dataset: str, axes: Axes) -> list[Figure]:
    """Return a figure of the hyperparameters tried by each approach that has a sweep and tried some."""
    return [
        draw(
            approach.stage,
            rows,
            f"{dataset}-{approach.stage}-{name}-sweep",
            f"{approach.title} of {name} on {dataset}",
            f"{sentence(readable(f'{approach.stage} {name}'))}: {approach.sweep}",
        )
        for approach in APPROACHES
        if approach.sweep
        for name in getattr(axes, approach.axis)
        if len(rows := table(Path(f"plots/{approach.stage}/{name}-{dataset}.csv")))
    ]


def few_shot(dataset: str, encoders: tuple[str, ...]) -> list[Figure]:
    """Return mean per-class accuracy on test by the number of training images per class, with each method's spread over the seeds."""
    drawings = []
    for encoder in encoders:
        frame = table(Path(f"plots/few_shot/{encoder}-{dataset}.csv"))
        if frame.empty:
            continue
        seeds = int(frame["seeds"].max())
        spread = f"Mean over {seeds} draws; the band is one standard deviation" if seeds > 1 else "One draw, so no spread is shown"
        baseline = (
            "dashed: zero-shot, the baseline" if "zero_shot" in set(frame["method"]) else f"no zero-shot: {encoder} has no text tower"
        )
        label = f"few-shot learning with {encoder} on {dataset}"
        caption = f"{encoder}. {spread}; {baseline}. {sentences.wins(frame)}".rstrip()
        drawings.append(draw("few_shot", frame, f"{dataset}-{encoder}-shots", label, caption))
    return drawings


def simulation(dataset: str, encoders: tuple[str, ...]) -> list[Figure]:
    """Return mean per-class accuracy by the number of labels per class, for each strategy that chooses the images to label."""
    drawings = []
    for encoder in encoders:
        frame = table(Path(f"plots/simulation/{encoder}-{dataset}.csv"))
        if len(frame):
            runs = frame.loc[frame["strategy"] != "zero_shot", "seeds"]
            means = "" if runs.empty else f" Means over {runs.min()} to {runs.max()} runs."
            label = f"labels by strategy with {encoder} on {dataset}"
            caption = f"{encoder}. The labels of the training images are hidden; a strategy chooses which to ask for.{means}"
            drawings.append(draw("simulation", frame, f"{dataset}-{encoder}-simulation", label, caption))
    return drawings


def prompts(dataset: str, encoders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the results of every prompt and of the ensemble of all, for each encoder with texts: a figure, and rows with val and test.

    A single prompt is its own ensemble: one row and no figure.
    """
    compared = []
    for encoder in encoders:
        frame = table(Path(f"plots/zero_shot/{encoder}-{dataset}.csv"))
        if frame.empty:
            continue
        wide = frame.pivot(index="template", columns="split", values="mean_per_class").reindex(columns=["val", "test"])
        figure = None
        if len(wide) == 2:
            wide = wide.drop(ENSEMBLE)
        else:
            wide = wide.sort_values("val", ascending=False, kind="stable")
            note = f" The {PROMPTS} best on val of {len(wide)}." if len(wide) > PROMPTS else ""
            caption = f"{encoder}: each prompt alone, and their ensemble.{note}"
            figure = draw("prompts", frame, f"{dataset}-{encoder}-prompts", f"prompts of {encoder} on {dataset}", caption)
        compared.append({"encoder": encoder, "figure": figure, "rows": records(wide.reset_index())})
    return compared


def calibration(dataset: str, rows: list[dict[str, Any]]) -> list[Figure]:
    """Return a reliability diagram of each approach, before and after temperature scaling, and what the scaling changes."""
    frame, drawings = table(Path(f"plots/score/{dataset}/reliability.csv")), []
    for row in rows:
        name = readable(row["title"])
        label = f"reliability of {name} on {dataset}"
        caption = sentence(f"{name}: {sentences.calibration(row)}")
        bins = frame[frame["approach"] == row["title"]]
        drawings.append(draw("reliability", bins, f"{dataset}-{row['stage']}-{row['name']}-reliability", label, caption))
    return drawings


def confusion(dataset: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the matrix of the worst classes of each approach and its most confused pairs."""
    pairs, matrices = table(Path(f"plots/score/{dataset}/confused.csv")), []
    for row in rows:
        name = readable(row["title"])
        figure = draw(
            "confusion",
            table(Path(f"plots/score/{dataset}/confusion/{row['stage']}-{row['name']}.csv")),
            f"{dataset}-{row['stage']}-{row['name']}-confusion",
            f"confusion matrix of {name} on {dataset}",
            sentence(f"{name}: one row per true class. Cells count its test images and are coloured by their share of the row."),
        )
        matrices.append({"name": name, "figure": figure, "pairs": records(pairs[pairs["approach"] == row["title"]])})
    return matrices


def per_class(dataset: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a class with the accuracies of the approaches, in the order of ``rows``."""
    frame = table(Path(f"plots/score/{dataset}/per_class.csv"))
    accuracy = {title: dict(zip(lines["class_name"], lines["accuracy"], strict=True)) for title, lines in frame.groupby("approach")}
    classes = dict.fromkeys(frame["class_name"])
    return [{"class_name": name, "accuracies": [accuracy[row["title"]][name] for row in rows]} for name in classes]
