"""MobileNetV2 trained on ImageNet, and folders of real photographs, for tests and benchmarks with REAL_DATA."""

from pathlib import Path
from typing import Any

from clipstore.core.digests import file_sha256
from tests.workspace import Workspace


def mobilenet(real: Path) -> dict[str, Any]:
    """Return the entry of ``encoders`` for the weights in ``real``: timm's features with BatchNorm folded in."""
    file = real / "weights/mobilenetv2_100_imagenet_timm_features_padsame.pth"
    return {
        "source": "timm_file",
        "architecture": "mobilenetv2_100",
        "file": str(file),
        "sha256": file_sha256(file),
        "arguments": {"pad_type": "same"},
        "preprocess": {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop_pct": 0.875},
    }


def workspace(root: Path, cache: Path, real: Path, names: list[str], overrides: dict[str, Any]) -> Workspace:
    """Return a copy of the project with the folders ``names`` of ``real`` as data sets and `mobilenet` as the only encoder."""
    axes = {"download": [], "datasets": names, "weights": ["mobilenetv2"], "encoders": ["mobilenetv2"], "zero_shot": [], "corpora": []}
    tables = {"encoders": {"mobilenetv2": mobilenet(real)}, "datasets": {name: {"kind": "folder"} for name in names}}
    copy = Workspace.make(root, cache, {"axes": axes | {"finetune": [], "scratch": []}} | tables | overrides)
    (root / "data/raw").mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / "data/raw" / name).symlink_to(real / name)
    return copy
