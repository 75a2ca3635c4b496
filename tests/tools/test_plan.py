"""The plan computes downloads, storage and time from the tables and architectures."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.datasets import Dataset
from clipstore.core.encoders import Encoder
from clipstore.core.errors import InputError
from clipstore.core.nets import Net, Scratch
from clipstore.core.params import check
from clipstore.core.schema import Axes
from clipstore.tools import plan
from tests.project import draw, make_images
from tests.workspace import PROJECT

PETS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]["pets"]
VITB32 = {"source": "open_clip", "architecture": "ViT-B-32-quickgelu", "tag": "openai"}
DINOV2 = {"source": "timm", "architecture": "vit_small_patch14_dinov2.lvd142m"}
FINE_TUNED = {"kind": "finetune", "epochs": 2, "batch_size": 64, "image_size": 112, "lr": 0.01}
OWN = {"kind": "scratch", "epochs": 3, "batch_size": 64, "image_size": 16, "lr": 0.01, "widths": [8], "depths": [1], "stride": 1}
GARDEN = {"source": "garden", "image_size": 64, "drawings": 1, "steps": 100}


def encoder(entry: dict[str, Any]) -> Any:
    return check(Encoder, entry)


@pytest.mark.parametrize(
    ("entry", "megabytes", "gflop", "numbers"),
    [
        # 4 bytes per parameter. Operations: 24 n d^2 + 4 n^2 d per layer for n tokens of width d; 2 p d to embed a patch of p numbers.
        (VITB32, 605, 8.82, 512 + 768),  # 12 layers, d = 768, n = 50, p = 3072
        (DINOV2, 88, 93.4, 384),  # 12 layers, d = 384, n = 1370, p = 588
        (DINOV2 | {"arguments": {"img_size": 224}}, 87, 12.25, 384),  # n = 257
    ],
)
def test_size_of_an_encoder(entry: dict[str, Any], megabytes: float, gflop: float, numbers: int) -> None:
    if "arguments" in entry:
        entry |= {"preprocess": {"size": 224, "mean": [0] * 3, "std": [1] * 3, "interpolation": "bicubic", "crop_pct": 1}}
    size = plan.size_of_encoder("mine", encoder(entry))
    assert size.megabytes == pytest.approx(megabytes, abs=1)
    assert size.operations / 1e9 == pytest.approx(gflop, rel=0.002)
    assert size.numbers == numbers


@pytest.mark.parametrize("entry", [VITB32 | {"architecture": "ViT-B-33"}, DINOV2 | {"architecture": "resnet10x"}])
def test_an_unknown_architecture_is_one_line(entry: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: encoders\.mine: .*(ViT-B-33|resnet10x)") as error:
        plan.size_of_encoder("mine", encoder(entry))
    assert "\n" not in str(error.value)


def test_operations_of_the_projects_own_network_by_hand() -> None:
    stem, block, squeeze = 9 * (3 * 16 + 16 * 16 + 16 * 8), 9 * 2 * 8 * 8, 2 * 8 * 8
    assert plan.operations_of_own(check(Scratch, OWN)) == 2 * (16 * 16 * (stem + block) + squeeze)


def test_size_of_a_data_set(project: Path) -> None:
    make_images(5)
    assert plan.size_of_dataset("own", check(Dataset, {"kind": "folder"})) == (5, 2, 2)
    for number in range(3):
        draw(Path("data/raw/own/unlabelled/deeper") / f"{number}.png", number)
    named = check(Dataset, {"kind": "folder", "class_names": {"even": "Even", "odd": "Odd", "third": "Third"}})
    assert plan.size_of_dataset("own", named) == (8, 2, 3)
    assert plan.size_of_dataset("pets", check(Dataset, PETS)) == (7349, 3680, 37)
    assert plan.size_of_dataset("digits", check(Dataset, {"kind": "digits"})) == (1797, 898, 10)


def test_costs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "size_of_encoder", lambda *_: plan.Size(600, 8e9, 1000, 224))
    monkeypatch.setattr(plan, "operations_of_own", lambda _: 4e9)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    on = {"download": ["pets"], "datasets": ["pets"], "weights": ["vitb32", "garden_clip"], "encoders": ["vitb32"]}
    axes = check(Axes, on | {"zero_shot": [], "finetune": ["vitb32"], "scratch": ["small"], "corpora": []})
    nets = {"vitb32": FINE_TUNED, "small": OWN | {"refit": False}}
    datasets = {"pets": check(Dataset, PETS)}
    coders = {"vitb32": encoder(VITB32), "garden_clip": encoder(GARDEN)}
    costs: dict[str, Any] = {row.cell: row[1:] for row in plan.costs(axes, datasets, coders, check(dict[str, Net], nets), 13, 1e10)}
    assert costs == {
        "download pets": (811, 1622, pytest.approx(81.1)),
        "weights vitb32": (600, 1200, pytest.approx(60)),
        "weights garden_clip": (0, 600, pytest.approx(100 * plan.STEP)),
        "index pets": (0, 0, pytest.approx(7349 * 0.002)),
        "embed_images vitb32-pets": (0, pytest.approx(7349 * 0.012), pytest.approx(7349 * (1 + 0.002))),
        "linear_probe vitb32-pets": (0, 0, pytest.approx(3680 * 37 * 1000 * 13 * plan.PROBE)),
        "audit vitb32-pets": (0, 0, pytest.approx(7349 * plan.AUDIT)),
        # 2 epochs at half the side, so a quarter of the operations: forward and backward on train, again on train + val, and evaluation.
        "finetune vitb32-pets": (0, 0, pytest.approx(2 * (6 * 3680 + 3669) * 2e9 / 8e9)),
        "scratch small-pets": (0, 0, pytest.approx(3 * (3 * 3680 + 3669) * 4e9 / 8e9)),
    }


OFF = ["zero_shot=[]", "finetune=[]", "corpora=[]"]


@pytest.mark.slow
def test_the_given_axes_are_planned(capsys: pytest.CaptureFixture[str]) -> None:
    axes = ["download=[pets,digits]", "datasets=[pets,digits]", "weights=[vitb32]", "encoders=[vitb32]", "scratch=[small]"]
    plan.main([*axes, *OFF])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:-1]] == [
        *("download pets", "download digits", "weights vitb32"),
        *("index pets", "embed_images vitb32-pets", "linear_probe vitb32-pets", "audit vitb32-pets", "scratch small-pets"),
        *("index digits", "embed_images vitb32-digits", "linear_probe vitb32-digits", "audit vitb32-digits", "scratch small-digits", "all"),
    ]
    assert "1,416 MB" in lines[-2]
    assert lines[-1].startswith("Estimates for ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("datasets=[nowhere]", "datasets = 'nowhere': expected entries of datasets with images: garden, "),
        ("weights=[vitb33]", "weights = 'vitb33': expected entries of encoders: garden_clip, "),
        ("encoders=[vitb32]", "encoders = 'vitb32': expected names in axes.weights: garden_clip"),
        ("encodrs=[vitb32]", "encodrs = ['vitb32']: "),
        ("finetune=[nothing]", "finetune = 'nothing': expected nets of kind finetune with weights in axes.weights: garden_clip"),
        ("finetune=[resnet34]", "finetune = 'resnet34': expected nets of kind finetune with weights in axes.weights: garden_clip"),
        ("scratch=[nothing]", "scratch = 'nothing': expected nets of kind scratch: small, own"),
    ],
)
def test_an_unknown_name_is_one_line(override: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        plan.main([override])
    assert str(error.value).startswith(f"params.yaml: axes.{message}")
    assert "\n" not in str(error.value)
