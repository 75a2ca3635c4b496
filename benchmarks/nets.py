"""Fine-tune MobileNetV2 and train a network from scratch on real photographs of pets: REAL_DATA=FOLDER python -m benchmarks.nets [NET ...].

FOLDER holds pets/ (photographs and manifest.csv) and weights/ (ImageNet's MobileNetV2 as timm's features, BatchNorm folded, which therefore
stays frozen). Runs the pipeline in a temporary copy of the project; prints metrics, curves and what every cell took.
NET is mobilenetv2 or little; without one, both.
"""

import os
import sys
import tempfile
from pathlib import Path

from stages.lib.digests import file_sha256
from stages.lib.errors import InputError
from tests.workspace import Workspace

DATASET = "pets_photographs"
COMMON = {"batch": 32, "lr": 0.003, "flip": 0.5}
FINETUNE = {"kind": "finetune", "epochs": 6, "size": 224, "body": 0.1, "first_layer": 0.1, "frozen_epochs": 1, "frozen_norms": True}
SCRATCH = {"kind": "scratch", "widths": [48, 96, 192, 384], "depths": [1, 1, 2, 1], "stride": 2, "drop": 0.1, "epochs": 60, "size": 96}


def main() -> None:
    """Run both nets and print what came of them."""
    if "REAL_DATA" not in os.environ:
        raise InputError("REAL_DATA is not set: expected a folder with pets/ and weights/")
    chosen = sys.argv[1:] or ["mobilenetv2", "little"]
    real = Path(os.environ["REAL_DATA"]).resolve()
    weights = real / "weights/mobilenetv2_100_imagenet_timm_features_padsame.pth"
    grey = {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop": 0.875}
    file = {"source": "timm_file", "file": str(weights), "sha256": file_sha256(weights)}
    overrides = {
        f"datasets.{DATASET}": {"kind": "folder"},
        "encoders.mobilenetv2": {**file, "architecture": "mobilenetv2_100", "arguments": {"pad_type": "same"}, "preprocess": grey},
        "nets.mobilenetv2": FINETUNE | COMMON | {"smallest_crop": 0.5, "ema": 0.98},
        "nets.little": SCRATCH | COMMON | {"warm_up": 3, "smallest_crop": 0.4, "trivial_augment": True, "ema": 0.9},
        "axes": {"download": [], "datasets": [DATASET], "weights": ["mobilenetv2"], "encoders": [], "zero_shot": [], "corpora": []}
        | {"finetune": [name for name in chosen if name == "mobilenetv2"], "scratch": [name for name in chosen if name == "little"]},
    }
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.make(Path(folder) / "project", Path(folder) / "cache", overrides)
        raw = workspace.root / "data/raw" / DATASET
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.symlink_to(real / "pets")
        workspace.dvc("repro", timeout=7200)
        print((workspace.root / f"metrics/{DATASET}.json").read_text())
        print((workspace.root / f"plots/score/{DATASET}/curves.csv").read_text())
        print((workspace.root / "data/runs.jsonl").read_text())


if __name__ == "__main__":
    main()
