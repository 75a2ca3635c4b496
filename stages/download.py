"""Download or draw a data set: `dvc repro -s download@DATASET`.

Writes data/raw/DATASET: images and a manifest.csv (path, class_name; split and label if the data set has official ones), or text, one .txt
file per split. Archives stay in the user's cache folder, so that an interrupted download resumes and other workspaces can reuse them.
"""

from pathlib import Path
from typing import Any

from clipstore.core.datasets import Dataset, Digits, Flowers, Folder, Garden, Pets, PythonDocs, Text, WikiText
from clipstore.core.errors import InputError
from clipstore.core.params import section
from clipstore.core.stage import run
from clipstore.data import official, samples
from clipstore.text import docstrings, wikitext


def main(dataset: str) -> dict[str, Any]:
    """Write data/raw/DATASET, with the manifest last."""
    entry: Dataset = section(Dataset, f"datasets.{dataset}")
    root = Path("data/raw") / dataset
    root.mkdir(parents=True, exist_ok=True)
    match entry:
        case Garden():
            manifest = samples.write_garden(entry, root)
        case Digits():
            manifest = samples.write_digits(root)
        case Flowers():
            from clipstore.encoders.vision import torchvision  # takes seconds

            manifest = official.write(dataset, entry, root, torchvision.datasets.Flowers102.classes)
        case Pets():
            manifest = official.write(dataset, entry, root)
        case WikiText() | PythonDocs():
            lines = wikitext.write(entry, root) if isinstance(entry, WikiText) else docstrings.write(entry, root)
            print(f"download {dataset}: {lines} lines")
            return {"lines": lines}
        case Folder() | Text():
            raise InputError(f"params.yaml: axes.download = {dataset!r}: data of kind {entry.kind} cannot be downloaded; put it in {root}")
    manifest.to_csv(root / "manifest.csv", index=False)
    print(f"download {dataset}: {len(manifest)} images")
    return {"images": len(manifest)}


if __name__ == "__main__":
    run(main)
