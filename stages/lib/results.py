"""The results table of every data set on the axes, as Markdown: python -m stages.lib.results."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stages.lib.errors import InputError

ABSENT = "–"


def table(metrics: dict[str, dict[str, Any]]) -> str:
    """Return one Markdown table over {data set: {stage: {name: measures}}}, accuracies in percent."""
    rows = [
        {
            "data set": dataset,
            "approach": stage,
            "encoder": name,
            "top-1": _percent(found["top1"]),
            "top-5": _percent(found["top5"]) if "top5" in found else ABSENT,
            "mean per class": _percent(found["mean_per_class"]),
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
