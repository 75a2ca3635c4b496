"""The results table of every data set on the axes, as Markdown: python -m stages.lib.results."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.errors import InputError

ABSENT = "–"


def table(metrics: dict[str, dict[str, Any]]) -> str:
    """Return one Markdown table over {data set: {stage: {name: measures}}}, accuracies in percent with their 95 % intervals."""
    rows = [
        {
            "data set": dataset,
            "approach": stage,
            "encoder": name,
            "top-1": _interval(found, "top1"),
            "top-5": _percent(found["top5"]) if "top5" in found else ABSENT,
            "mean per class": _interval(found, "mean_per_class"),
            "to the best": _to_best(found, stages),
            "trained on train alone": _percent(found["train_only"]["mean_per_class"]) if "train_only" in found else ABSENT,
            "test images": found["n"],
            "failed": found["failed"],
            "with": ", ".join(f"{key} {_plain(value)}" for key, value in found["chosen"].items()),
        }
        for dataset, stages in metrics.items()
        for stage, names in stages.items()
        for name, found in names.items()
    ]
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _interval(found: dict[str, Any], measure: str) -> str:
    return f"{_percent(found[measure])} ({_percent(found[f'{measure}_low'])}–{_percent(found[f'{measure}_high'])})"


def _to_best(found: dict[str, Any], stages: dict[str, Any]) -> str:
    """Return the points of mean per class that an approach lacks; ≈ where its top-1 cannot be told from the best one's."""
    best = max((other for names in stages.values() for other in names.values()), key=lambda other: other["mean_per_class"])
    points = round(100 * found["to_best"], 1) + 0.0  # no "-0.0"
    return "best" if found is best else f"{points:.1f}" + " ≈" * (not found["beyond_chance"])


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Print the table of metrics/DATASET.json for each data set on axes.datasets."""
    import dvc.api

    datasets = dvc.api.params_show("params.yaml")["axes"]["datasets"]
    paths = {name: Path("metrics") / f"{name}.json" for name in datasets}
    missing = [str(path) for path in paths.values() if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; `dvc repro` makes it")
    print(table({name: json.loads(path.read_text()) for name, path in paths.items()}))


if __name__ == "__main__":
    main()
