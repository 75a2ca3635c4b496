"""Two folders of photographs as a user's own data, with an ImageNet MobileNetV2 as encoder.

The expectations were made with plain timm and scikit-learn on the same files; a run must not be more than 1.5 points below them.
"""

from pathlib import Path

import pytest

from stages.lib.digests import file_sha256
from tests.workspace import Workspace

# data set -> 1-NN, linear probe: mean per-class accuracy
EXPECTED = {"flowers": (0.741, 0.873), "pets": (0.855, 0.907)}


@pytest.mark.timeout(900)
def test_mobilenet_on_photographs(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "weights/mobilenetv2_100_imagenet_timm_features_padsame.pth"
    entry = {
        "source": "timm_file",
        "architecture": "mobilenetv2_100",
        "file": str(file),
        "sha256": file_sha256(file),
        "arguments": {"pad_type": "same"},
        "preprocess": {"size": 224, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic", "crop": 0.875},
    }
    axes = {"download": [], "datasets": list(EXPECTED), "weights": ["mobilenetv2"], "encoders": ["mobilenetv2"], "zero_shot": []}
    tables = {"encoders": {"mobilenetv2": entry}, "datasets": {name: {"kind": "folder"} for name in EXPECTED}}
    workspace = Workspace(tmp_path / "project", tmp_path / "cache", {"axes": axes, **tables})
    for name in EXPECTED:
        (workspace.root / "data/raw").mkdir(parents=True, exist_ok=True)
        (workspace.root / "data/raw" / name).symlink_to(real_data / name)
    workspace.dvc("repro", timeout=900)

    for name, (nearest, probe) in EXPECTED.items():
        found = workspace.metrics(name)
        print(name, found)
        assert found["knn"]["mobilenetv2"]["top1"] > nearest - 0.015
        assert found["linear_probe"]["mobilenetv2"]["top1"] > probe - 0.015
    print(workspace.runs())
