"""Tables and figures of the report for one data set, from the files that the other stages wrote."""

from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.core.schema import Axes
from clipstore.report import figures, heat_map
from clipstore.report.figures import Series
from clipstore.report.page import Figure, percent, sentence
from clipstore.store.approaches import APPROACHES, ENSEMBLE, readable

DASHES = {"test": 0, "val": 1, "train": 2}  # of each split's lines
PROMPTS = 20  # in a figure; the table has all
# Columns of text, even where they hold digits.
WORDS = ("actual", "predicted", "class_name", "nearest_class", "template", "approach", "series", "a", "b", "shots")
METHODS = {
    "zero_shot": "zero-shot",
    "nearest_mean": "nearest class mean",
    "linear_probe": "linear probe",
    "tip_adapter": "Tip-Adapter, training-free",
    "text_probe": "probe from the texts",
}


def percents(values: pd.Series) -> list[float]:
    """Return fractions in percent, for a figure."""
    return [100 * value for value in values]


def existing(path: Path) -> Path:
    """Return ``path`` if there is such a file.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    return path


def table(path: Path) -> pd.DataFrame:
    """Read a table of plots/; names stay text, even those that look like a number or a missing value ("007", "nan")."""
    return pd.read_csv(existing(path), converters=dict.fromkeys(WORDS, str))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as mappings of column to value."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def results(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each approach of metrics/DATASET.json with its stage, name and title, the best first (see `sentences.headline`)."""
    rows = [
        {"stage": stage, "name": name, "title": f"{stage} {name}", **measures}
        for stage, names in metrics.items()
        for name, measures in names.items()
    ]
    return sorted(rows, key=lambda row: -row["mean_per_class"])


def curves(dataset: str) -> list[Figure]:
    """Return accuracy and loss by epoch of every network that was trained."""
    frame = table(Path(f"plots/score/{dataset}/curves.csv"))
    approaches = list(dict.fromkeys(frame["approach"]))
    legend_split = "test" if "test" in set(frame["split"]) else "val"  # its line stands for the approach in the legend
    drawings = []
    for measure, label in (("accuracy", "accuracy, %"), ("loss", "loss")) if approaches else ():
        series = []
        for (approach, split), points in frame.groupby(["approach", "split"], sort=False):
            name = readable(str(approach)) if split == legend_split else ""
            values = percents(points[measure]) if measure == "accuracy" else list(points[measure])
            series.append(Series(name, list(points["epoch"]), values, None, approaches.index(str(approach)), DASHES[str(split)]))
        svg = figures.lines(f"{dataset}-{measure}", f"{measure} by epoch on {dataset}", series, "epoch", label)
        note = " Train is measured on augmented images, which lowers it." if measure == "accuracy" else ""
        drawings.append(Figure(svg, f"{measure.capitalize()} by epoch, solid on test, dashed on val, dotted on train.{note}"))
    return drawings


def sweeps(dataset: str, axes: Axes) -> list[Figure]:
    """Return a figure of the hyperparameters tried by each approach that has a sweep."""
    drawings = []
    for approach in APPROACHES:
        if not approach.sweep:
            continue
        for name in getattr(axes, approach.axis):
            frame = table(Path(f"plots/{approach.stage}/{name}-{dataset}.csv"))
            frame = frame if "split" in frame else frame.assign(split="val")
            kinds = [label.removeprefix(f"{split}, ") for label, split in zip(frame["series"], frame["split"], strict=True)]
            colours = list(dict.fromkeys(kinds))
            series = [
                Series(
                    str(label).replace("_", ", "),
                    list(points[approach.sweep.x]),
                    percents(points["mean_per_class"]),
                    None,
                    colours.index(str(label).removeprefix(f"{split}, ")),
                    DASHES[str(split)],
                )
                for (label, split), points in frame.groupby(["series", "split"], sort=False)
            ]
            y_label = "mean per class, %" if frame["split"].nunique() > 1 else "mean per class on val, %"
            svg = figures.lines(
                f"{dataset}-{approach.stage}-{name}-sweep",
                f"{approach.title} of {name} on {dataset}",
                series,
                approach.sweep.x_label,
                y_label,
                "x" if approach.sweep.log else "",
            )
            drawings.append(Figure(svg, f"{sentence(readable(f'{approach.stage} {name}'))}: {approach.sweep.caption}"))
    return drawings


def few_shot(dataset: str, encoders: tuple[str, ...]) -> list[Figure]:
    """Return mean per class on test by the number of labelled images a class, each method with its spread over the seeds."""
    drawings = []
    for encoder in encoders:
        frame = table(Path(f"plots/few_shot/{encoder}-{dataset}.csv"))
        points = {method: frame[frame["method"] == method] for method in METHODS if method in set(frame["method"])}
        series = [
            Series(METHODS[method], list(rows["shots"]), percents(rows["mean_per_class"]), percents(rows["std"]), at, method == "zero_shot")
            for at, (method, rows) in enumerate(points.items())
        ]
        label = f"few-shot learning with {encoder} on {dataset}"
        svg = figures.lines(f"{dataset}-{encoder}-shots", label, series, "training images a class", "mean per class on test, %")
        seeds = int(frame["seeds"].max())
        spread = f"Mean over {seeds} draws; the band is one standard deviation" if seeds > 1 else "One draw, so no spread is shown"
        baseline = "dashed: zero-shot, the baseline" if "zero_shot" in points else f"no zero-shot: {encoder} has no text tower"
        drawings.append(Figure(svg, f"{encoder}. {spread}; {baseline}."))
    return drawings


def prompts(dataset: str, encoders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return of each encoder with texts every prompt alone and the ensemble of all: a figure, and rows with val and test.

    A single prompt is its own ensemble: one row, and no figure.
    """
    compared = []
    for encoder in encoders:
        frame = table(Path(f"plots/zero_shot/{encoder}-{dataset}.csv"))
        wide = frame.pivot(index="template", columns="split", values="mean_per_class").reindex(columns=["val", "test"])
        figure = None
        if len(wide) == 2:
            wide = wide.drop(ENSEMBLE)
        else:
            wide = wide.sort_values("val", ascending=False, kind="stable")
            best = wide.head(PROMPTS)
            series = [Series(split, percents(best[split]), [], None, at) for at, split in enumerate(best.columns)]
            label = f"prompts of {encoder} on {dataset}"
            svg = figures.dots(f"{dataset}-{encoder}-prompts", label, [str(name) for name in best.index], series, "mean per class, %")
            note = f" The {PROMPTS} best on val of {len(wide)}." if len(wide) > PROMPTS else ""
            figure = Figure(svg, f"{encoder}: each prompt alone, and their ensemble.{note}")
        compared.append({"encoder": encoder, "figure": figure, "rows": records(wide.reset_index())})
    return compared


def calibration(dataset: str, rows: list[dict[str, Any]]) -> list[Figure]:
    """Return a reliability diagram of each approach, before and after its temperature."""
    frame, drawings = table(Path(f"plots/score/{dataset}/reliability.csv")), []
    for row in rows:
        bins = frame[frame["approach"] == row["title"]]
        series = []
        for at, when in enumerate(("before", "after")):
            points = bins[bins["temperature"] == when]
            series.append(Series(when, list(points["confidence"]), list(points["accuracy"]), None, 4 * (1 - at), 1 - at))
        name = readable(row["title"])
        svg = figures.reliability(f"{dataset}-{row['stage']}-{row['name']}-reliability", f"reliability of {name} on {dataset}", series)
        errors = f"{percent(row['ece'])} %, after scaling {percent(row['ece_scaled'])} %"
        drawings.append(Figure(svg, f"{name}: expected calibration error {errors}."))
    return drawings


def confusion(dataset: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each approach the matrix of its worst classes and its most confused pairs."""
    pairs, matrices = table(Path(f"plots/score/{dataset}/confused.csv")), []
    for row in rows:
        frame = table(Path(f"plots/score/{dataset}/confusion/{row['stage']}-{row['name']}.csv"))
        actual, columns = list(dict.fromkeys(frame["actual"])), list(dict.fromkeys(frame["predicted"]))
        shape = (len(actual), len(columns))
        name = readable(row["title"])
        svg = heat_map.draw(
            f"{dataset}-{row['stage']}-{row['name']}-confusion",
            f"confusion matrix of {name} on {dataset}",
            frame["count"].to_numpy().reshape(shape),
            frame["share"].to_numpy().reshape(shape),
            actual,
            columns,
        )
        caption = f"{name}: actual classes in rows, predicted classes in columns, long names by number. Green: right; red: wrong."
        matrices.append({"name": name, "figure": Figure(svg, caption), "pairs": records(pairs[pairs["approach"] == row["title"]])})
    return matrices


def per_class(dataset: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a class with the accuracies of the approaches, in the order of ``rows``."""
    frame = table(Path(f"plots/score/{dataset}/per_class.csv"))
    accuracy = {title: dict(zip(lines["class_name"], lines["accuracy"], strict=True)) for title, lines in frame.groupby("approach")}
    classes = dict.fromkeys(frame["class_name"])
    return [{"class_name": name, "accuracies": [accuracy[row["title"]][name] for row in rows]} for name in classes]
