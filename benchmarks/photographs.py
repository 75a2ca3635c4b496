"""Run every approach that needs no text on real photographs: REAL_DATA=FOLDER python -m benchmarks.photographs TARGET [DATASET ...].

FOLDER contains flowers/ and pets/ (photographs and manifest.csv; both are used if no DATASET is given) and weights/ (an ImageNet
MobileNetV2 as timm features, with BatchNorm folded in and therefore frozen). The pipeline runs in TARGET, which is created as a copy of the
project: probe, kNN, few-shot methods and audit with MobileNetV2's embeddings, a fine-tuned MobileNetV2, a network from scratch, and the
report. Prints the results, the audit's counts, and the time and memory of every cell.
"""

import os
import subprocess
import sys
from pathlib import Path

from clipstore.core.errors import InputError
from tests import photographs

COMMON = {"batch_size": 32, "lr": 0.003, "hflip_prob": 0.5}
FINETUNE = {
    "kind": "finetune",
    "epochs": 6,
    "image_size": 224,
    "backbone_lr_scale": 0.1,
    "layer_decay": 0.1,
    "freeze_backbone_epochs": 1,
    "freeze_batch_norm": True,
}
SCRATCH = {
    "kind": "scratch",
    "widths": [48, 96, 192, 384],
    "depths": [1, 1, 2, 1],
    "stride": 2,
    "drop_path": 0.1,
    "epochs": 60,
    "image_size": 96,
}
NETS = {
    "nets.mobilenetv2": FINETUNE | COMMON | {"min_crop_scale": 0.5, "ema_decay": 0.98},
    "nets.little": SCRATCH | COMMON | {"warmup_epochs": 3, "min_crop_scale": 0.4, "ema_decay": 0.9, "refit": False},
    "axes.finetune": ["mobilenetv2"],
    "axes.scratch": ["little"],
}


def main(arguments: list[str]) -> None:
    """Run the pipeline and print its results."""
    if "REAL_DATA" not in os.environ:
        raise InputError("REAL_DATA is not set: expected a folder with flowers/, pets/ and weights/")
    if not arguments or Path(arguments[0]).exists():
        raise InputError("python -m benchmarks.photographs TARGET [DATASET ...]: expected a TARGET that does not exist yet")
    target, names = Path(arguments[0]), arguments[1:] or ["flowers", "pets"]
    workspace = photographs.workspace(target, target / "data/cache", Path(os.environ["REAL_DATA"]).resolve(), names, NETS)
    subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=target, env=workspace.environment(), check=True)
    subprocess.run([sys.executable, "-m", "clipstore.tools.results"], cwd=target, env=workspace.environment(), check=True)
    for path in sorted((target / "metrics/audit").glob("*.json")):
        print(path.name, path.read_text())
    print(*workspace.runs(), sep="\n")
    print(target / "report/index.html")


if __name__ == "__main__":
    main(sys.argv[1:])
