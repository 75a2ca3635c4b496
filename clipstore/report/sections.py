"""What the report says of one data set, from the files that the other stages wrote: tables and figures."""

from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.probes import ensemble
from clipstore.report import figures, heat_map, sentences
from clipstore.report.figures import Series
from clipstore.report.page import Figure, percent

SPLITS = {"test": 0, "val": 1, "train": 2}  # dashes
PROMPTS = 20  # in a figure; the table has all
WORDS = ("actual", "predicted", "class_name", "nearest_class", "template", "approach", "series", "a", "b", "shots")  # never numbers
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
    """Read a table of plots/; names stay text, also those that look like a number or like nothing ("007", "nan")."""
    return pd.read_csv(existing(path), converters=dict.fromkeys(WORDS, str))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def results(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each approach of metrics/DATASET.json with its stage, name and title, the best first (see `readings.headline`)."""
    rows = [
        {"stage": stage, "name": name, "title": f"{stage} {name}", **found}
        for stage, names in metrics.items()
        for name, found in names.items()
    ]
    return sorted(rows, key=lambda row: -row["mean_per_class"])


def curves(dataset: str) -> list[Figure]:
    """Return accuracy and loss by epoch of every network that was trained."""
    frame = table(Path(f"plots/score/{dataset}/curves.csv"))
    approaches = list(dict.fromkeys(frame["approach"]))
    named = "test" if "test" in set(frame["split"]) else "val"  # its line stands for the approach in the legend
    found = []
    for measure, label in (("accuracy", "accuracy, %"), ("loss", "loss")) if approaches else ():
        series = []
        for (approach, split), some in frame.groupby(["approach", "split"], sort=False):
            name = sentences.called(str(approach)) if split == named else ""
            values = percents(some[measure]) if measure == "accuracy" else list(some[measure])
            series.append(Series(name, list(some["epoch"]), values, None, approaches.index(str(approach)), SPLITS[str(split)]))
        svg = figures.lines(f"{dataset}-{measure}", f"{measure} by epoch on {dataset}", series, "epoch", label)
        told = " Train is judged on augmented images, without which it would be higher." if measure == "accuracy" else ""
        found.append(Figure(svg, f"{measure.capitalize()} by epoch, solid on test, dashed on val, dotted on train.{told}"))
    return found


def sweeps(dataset: str, encoders: tuple[str, ...]) -> list[Figure]:
    """Return what was tried: neighbours and votes of kNN, C and vectors of the linear probe."""
    found = []
    for encoder in encoders:
        frame = table(Path(f"plots/knn/{encoder}-{dataset}.csv"))
        votes = list(dict.fromkeys(frame["votes"]))
        series = [
            Series(
                f"{vote} votes, {split}",
                list(some["k"]),
                percents(some["mean_per_class"]),
                None,
                votes.index(str(vote)),
                SPLITS[str(split)],
            )
            for (vote, split), some in frame.groupby(["votes", "split"], sort=False)
        ]
        svg = figures.lines(f"{dataset}-{encoder}-k", f"kNN of {encoder} on {dataset}", series, "neighbours k", "mean per class, %")
        found.append(Figure(svg, f"kNN on {encoder}'s embeddings: selected where val (dashed) is highest; test (solid) only looks on."))
        frame = table(Path(f"plots/linear_probe/{encoder}-{dataset}.csv"))
        series = [
            Series(str(name).replace("_", ", "), list(some["C"]), percents(some["mean_per_class"]), None, at, 1)
            for at, (name, some) in enumerate(frame.groupby("series", sort=False))
        ]
        label = f"linear probe of {encoder} on {dataset}"
        svg = figures.lines(f"{dataset}-{encoder}-C", label, series, "C, inverse strength of the penalty", "mean per class on val, %", "x")
        found.append(Figure(svg, f"Linear probe on {encoder}'s vectors, on val: strong penalty at the left, none at the right."))
    return found


def few_shot(dataset: str, encoders: tuple[str, ...]) -> list[Figure]:
    """Return mean per class on test by the number of labelled images a class, each method with its spread over the seeds."""
    found = []
    for encoder in encoders:
        frame = table(Path(f"plots/few_shot/{encoder}-{dataset}.csv"))
        methods = [method for method in METHODS if method in set(frame["method"])]
        by_method = {method: frame[frame["method"] == method] for method in methods}
        series = [
            Series(METHODS[method], list(some["shots"]), percents(some["mean_per_class"]), percents(some["std"]), at, method == "zero_shot")
            for at, (method, some) in enumerate(by_method.items())
        ]
        label = f"few-shot learning with {encoder} on {dataset}"
        svg = figures.lines(f"{dataset}-{encoder}-shots", label, series, "training images a class", "mean per class on test, %")
        seeds = int(frame["seeds"].max())
        line = (
            "; dashed: zero-shot, the line to beat" if "zero_shot" in methods else f"; {encoder} reads no texts: no zero-shot line to beat"
        )
        told = f"Mean over {seeds} draws, band: one standard deviation" if seeds > 1 else "One draw, so without a spread"
        found.append(Figure(svg, f"{encoder}. {told}{line}."))
    return found


def prompts(dataset: str, encoders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return of each encoder with texts every wording alone and all together: figure, and rows with val and test.

    A single wording is its own ensemble: one row, and no figure.
    """
    found = []
    for encoder in encoders:
        frame = table(Path(f"plots/zero_shot/{encoder}-{dataset}.csv"))
        wide = frame.pivot(index="template", columns="split", values="mean_per_class").reindex(columns=["val", "test"])
        figure = None
        if len(wide) == 2:
            wide = wide.drop(ensemble.NAME)
        else:
            wide = wide.sort_values("val", ascending=False, kind="stable")
            shown = wide.head(PROMPTS)
            series = [Series(split, percents(shown[split]), [], None, at) for at, split in enumerate(shown.columns)]
            label = f"prompts of {encoder} on {dataset}"
            svg = figures.dots(f"{dataset}-{encoder}-prompts", label, [str(name) for name in shown.index], series, "mean per class, %")
            more = f" The {PROMPTS} best on val of {len(wide)}." if len(wide) > PROMPTS else ""
            figure = Figure(svg, f"{encoder}: each prompt alone, and their ensemble.{more}")
        found.append({"encoder": encoder, "figure": figure, "rows": records(wide.reset_index())})
    return found


def calibration(dataset: str, rows: list[dict[str, Any]]) -> list[Figure]:
    """Return a reliability diagram of each approach, before and after its temperature."""
    frame, found = table(Path(f"plots/score/{dataset}/reliability.csv")), []
    for row in rows:
        some = frame[frame["approach"] == row["title"]]
        series = []
        for at, when in enumerate(("before", "after")):
            part = some[some["temperature"] == when]
            series.append(Series(when, list(part["confidence"]), list(part["accuracy"]), None, 4 * (1 - at), 1 - at))
        name = sentences.called(row["title"])
        svg = figures.reliability(f"{dataset}-{row['stage']}-{row['name']}-reliability", f"reliability of {name} on {dataset}", series)
        found.append(Figure(svg, f"{name}: expected calibration error {percent(row['ece'])} %, after it {percent(row['ece_scaled'])} %."))
    return found


def confusion(dataset: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each approach the matrix of its worst classes and its most confused pairs."""
    pairs, found = table(Path(f"plots/score/{dataset}/confused.csv")), []
    for row in rows:
        frame = table(Path(f"plots/score/{dataset}/confusion/{row['stage']}-{row['name']}.csv"))
        actual, columns = list(dict.fromkeys(frame["actual"])), list(dict.fromkeys(frame["predicted"]))
        shape = (len(actual), len(columns))
        name = sentences.called(row["title"])
        svg = heat_map.draw(
            f"{dataset}-{row['stage']}-{row['name']}-confusion",
            f"confusion matrix of {name} on {dataset}",
            frame["count"].to_numpy().reshape(shape),
            frame["share"].to_numpy().reshape(shape),
            actual,
            columns,
        )
        caption = f"{name}: actual classes in rows, what they were taken for in columns, long names by number. Green: right; red: wrong."
        found.append({"name": name, "figure": Figure(svg, caption), "pairs": records(pairs[pairs["approach"] == row["title"]])})
    return found


def per_class(dataset: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a class with the accuracies of the approaches, in the order of ``rows``."""
    frame = table(Path(f"plots/score/{dataset}/per_class.csv"))
    of = {title: dict(zip(some["class_name"], some["accuracy"], strict=True)) for title, some in frame.groupby("approach")}
    return [{"class_name": name, "accuracies": [of[row["title"]][name] for row in rows]} for name in dict.fromkeys(frame["class_name"])]
