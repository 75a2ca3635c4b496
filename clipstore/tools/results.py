"""The results of every data set and corpus on the axes, as Markdown: python -m clipstore.tools.results."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.report import sections
from clipstore.report.sentences import verdict
from clipstore.store.approaches import readable


def table(metrics: dict[str, dict[str, Any]]) -> str:
    """Return one Markdown table over {data set: {stage: {name: measures}}}, accuracies in percent with their 95 % intervals."""
    rows = [
        {
            "data set": dataset,
            "approach": readable(f"{stage} {name}"),
            **(_accuracies(measures, stages) if "not_yet" not in measures else {"mean per class": f"not yet: {measures['not_yet']}"}),
        }
        for dataset, stages in metrics.items()
        for stage, names in stages.items()
        for name, measures in names.items()
    ]
    columns = ["data set", "approach", "mean per class", "top-1", "gap to best"]
    return pd.DataFrame(rows, columns=columns).fillna("–").to_markdown(index=False, disable_numparse=True)


def unreadable(metrics: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each data set of which images could not be read, with their number."""
    failed = {
        dataset: max((measures.get("failed", 0) for names in stages.values() for measures in names.values()), default=0)
        for dataset, stages in metrics.items()
    }
    return [
        f"{dataset}: {count} {'image' if count == 1 else 'images'} could not be read; data/index/{dataset}.parquet gives the reasons"
        for dataset, count in failed.items()
        if count
    ]


def few_shot_table(rows: pd.DataFrame) -> str:
    """Return plots/few_shot/ENCODER-DATASET.csv as a Markdown table by method and shots.

    A cell is the mean per class in percent over the draws and, in brackets, in how many of several draws the method beats zero-shot.
    """

    def cell(row: pd.Series) -> str:
        counted = row["seeds"] > 1 and not pd.isna(row["wins"])
        return _percent(row["mean_per_class"]) + (f" ({row['wins']:.0f}/{row['seeds']:.0f})" if counted else "")

    wide = rows.assign(cell=rows.apply(cell, axis=1)).pivot(index="method", columns="shots", values="cell")
    wide = wide.loc[rows["method"].unique(), rows["shots"].unique()].rename(index=lambda name: name.replace("_", " "))
    return wide.rename_axis(index="images per class", columns=None).reset_index().to_markdown(index=False, disable_numparse=True)


def tokenizers_table(metrics: dict[str, dict[str, Any]]) -> str:
    """Return one Markdown table over {corpus: content of metrics/tokenizers-CORPUS.json}, shares in percent."""
    rows = [
        {
            "corpus": corpus,
            "tokenizer": name,
            "vocabulary": measures["vocab_size"],
            "tokens per word": f"{measures['fertility']:.3f}",
            "bytes per token": f"{measures['bytes_per_token']:.2f}",
            "whole words": _percent(measures["whole_words"]),
            "unknown": f"{100 * measures['unknown']:.2f}",
            "round trip": _percent(measures["round_trip"]),
        }
        for corpus, figures in metrics.items()
        for name, measures in figures["tokenizers"].items()
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def sentence(rows: pd.DataFrame, name: str) -> str:
    """Return a sentence as each tokenizer encodes it, tokens and ids, from the rows of plots/tokenizers/CORPUS/sentences.csv."""
    lines = []
    for tokenizer, tokens in rows[rows["sentence"] == name].groupby("tokenizer", sort=False):
        lines.append(f"{tokenizer}, {len(tokens)} tokens: " + " ".join(tokens["token"]))
        lines.append(f"{'':{len(str(tokenizer))}}  ids: " + " ".join(map(str, tokens["id"])))
    return "\n".join(lines)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _interval(measures: dict[str, Any], measure: str) -> str:
    return f"{_percent(measures[measure])} ({_percent(measures[f'{measure}_low'])}–{_percent(measures[f'{measure}_high'])})"


def _accuracies(measures: dict[str, Any], stages: dict[str, Any]) -> dict[str, str]:
    return {
        "mean per class": _interval(measures, "mean_per_class"),
        "top-1": _interval(measures, "top1"),
        "gap to best": _gap_to_best(measures, stages),
    }


def _gap_to_best(measures: dict[str, Any], stages: dict[str, Any]) -> str:
    """Return the difference in mean per class to the best approach, in points, and in brackets what its test says of it and of top-1."""
    measured = (other for names in stages.values() for other in names.values() if "not_yet" not in other)
    best = max(measured, key=lambda other: other["mean_per_class"])
    points = round(100 * measures["gap_to_best"], 1) + 0.0  # no "-0.0"
    words = verdict(measures, best)
    return "best" if measures is best else f"{points:.1f} ({words})" if words else f"{points:.1f}"


def main() -> None:
    """Print the tables of metrics/DATASET.json and metrics/tokenizers-CORPUS.json for what is on the axes, and the sentences."""
    import dvc.api

    axes = dvc.api.params_show("params.yaml")["axes"]
    datasets = {name: Path("metrics") / f"{name}.json" for name in axes["datasets"]}
    corpora = {name: Path("metrics") / f"tokenizers-{name}.json" for name in axes["corpora"]}
    missing = [str(path) for path in (*datasets.values(), *corpora.values()) if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; `dvc repro` makes it")
    if datasets:
        metrics = {name: json.loads(path.read_text()) for name, path in datasets.items()}
        print(table(metrics))
        print("Percent; in brackets, 95 % intervals. n.s.: does not differ significantly from the best approach.")
        for line in unreadable(metrics):
            print(line)
        for encoder, name in product(axes["encoders"], datasets):
            rows = sections.table(Path(f"plots/few_shot/{encoder}-{name}.csv"))
            print(f"\nFew-shot learning, {encoder} on {name}, percent mean per class over the draws, and draws that beat zero-shot:")
            print("not yet: too few labels" if rows.empty else few_shot_table(rows))
    if corpora:
        tokenizers = {name: json.loads(path.read_text()) for name, path in corpora.items()}
        print(f"\n{tokenizers_table(tokenizers)}")
        for name, figures in tokenizers.items():
            rows = sections.table(Path("plots/tokenizers") / name / "sentences.csv")
            for which, facts in figures["sentences"].items():
                print(f"\n{name}, {which}: {facts['text']}")
                print(f"{facts['cut_differently']} of {facts['words']} words are split differently: {facts['which']}")
                print(sentence(rows, which))


if __name__ == "__main__":
    main()
