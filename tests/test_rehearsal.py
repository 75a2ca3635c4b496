"""Run `make full` on replacements: archives in the official layout, a hub with random ViT-B/32 weights and a text, a bad network.

The code is unchanged. Parameters give the addresses, checksums and numbers of images of the replacements, and shorten the run: fewer
epochs and smaller images for the nets, fewer values for the probe and the few-shot methods.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clipstore.core.digests import file_sha256
from clipstore.encoders.vision import open_clip, torchvision
from clipstore.store.approaches import APPROACHES
from tests.mirror import PETS, Mirror, at_hub, parquet, put_flowers, put_pets, serving, text_sha256
from tests.workspace import FEW, Workspace, ran

pytestmark = pytest.mark.dvc
COUNTS = {"flowers102": {"train": 102, "val": 102, "test": 102}, "pets": {"train": 74, "test": 37}}
HUB_FILE = "timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors"
FLOWERS = "flowers/102flowers.tgz"
NAMES = {"zero_shot": "vitb32", "encoders": "vitb32", "finetune": "resnet34", "scratch": "own"}  # on each axis
SIDE = 96  # pixels
TEXT = {  # in place of WikiText-2's, by the hub's names of the splits
    hub_split: [f" {' '.join(topics[name].split())} \n" for name in sorted(topics)[place::3]]
    for place, hub_split in enumerate(("train", "validation", "test"))
}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Three drawn images of each of the 102 and 37 classes, and random weights, on a local server."""
    with serving(tmp_path_factory.mktemp("mirror")) as mirror:
        target = mirror.folder / HUB_FILE
        target.parent.mkdir(parents=True)
        save_file(open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).state_dict(), target)
        for hub_split, lines in TEXT.items():
            mirror.put(at_hub(hub_split), parquet(lines))
        torch.save(torchvision.models.resnet34().state_dict(), mirror.folder / "resnet34.pth")
        yield mirror


@pytest.fixture(scope="module")
def workspace(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project, with parameters that match the replacements."""
    folder = tmp_path_factory.mktemp("rehearsal")
    overrides: dict[str, Any] = (
        FEW | {"linear_probe.C": [0.1, 1.0]} | {f"datasets.{name}.images": counts for name, counts in COUNTS.items()}
    )
    overrides |= {f"nets.{net}.{key}": value for net in ("resnet34", "own") for key, value in (("epochs", 1), ("image_size", 32))}
    overrides |= {
        f"datasets.wikitext2.versions.raw.{hub_split.removesuffix('idation')}": text_sha256(lines) for hub_split, lines in TEXT.items()
    }
    resnet34 = f"resnet34-{file_sha256(mirror.folder / 'resnet34.pth')[:8]}.pth"
    shutil.move(mirror.folder / "resnet34.pth", mirror.folder / resnet34)
    overrides["encoders.resnet34.url"] = f"{mirror.address}/{resnet34}"
    overrides["datasets.flowers102.archives"] = put_flowers(mirror, SIDE)
    overrides["datasets.pets.archives"] = put_pets(mirror, [name.replace(" ", "_") for name in PETS], SIDE)
    workspace = Workspace.make(folder / "project", folder / "cache", overrides)
    workspace.variables = {"HF_ENDPOINT": mirror.address, "HF_HOME": str(folder / "hf")}
    return workspace


def full(workspace: Workspace) -> str:
    """Run `make full` with the installed environment; return its output."""
    return workspace.run("make", "full", "--assume-old", ".venv/.installed").stdout


def test_the_full_run_survives_a_bad_network_and_then_has_nothing_to_do(workspace: Workspace, mirror: Mirror) -> None:
    mirror.failures |= {FLOWERS: ["cut"], HUB_FILE: ["503", "503"]}
    printed = full(workspace)
    assert "the connection broke after" in printed
    assert printed.count("503 Service Unavailable") == 2
    starts = mirror.asked(FLOWERS)
    assert starts[0] == 0
    assert 0 < starts[1] < (mirror.folder / FLOWERS).stat().st_size
    for dataset, counts in COUNTS.items():
        metrics = workspace.metrics(dataset)
        test_images = {(stage, name): measures["n"] for stage, names in metrics.items() for name, measures in names.items()}
        assert test_images == {(approach.stage, NAMES[approach.axis]): counts["test"] for approach in APPROACHES}
        assert metrics["zero_shot"]["vitb32"]["selected"]["class_names"] == "openai"
        assert f"| {dataset:<10} | zero-shot (vitb32) " in printed
        contract = json.loads((workspace.root / f"data/embeddings/vitb32-{dataset}/contract.json").read_text())
        assert (contract["configuration"]["model_cfg"]["vision_cfg"]["patch_size"], contract["activation"]) == (32, "quick_gelu")
        assert contract["vectors"] == {"embedding": 512, "features": 768}
    tokenizers = workspace.metrics("tokenizers-wikitext2")["tokenizers"]
    assert {name: facts["vocab_size"] > 3000 for name, facts in tokenizers.items()} == dict.fromkeys(("bpe", "wordpiece", "unigram"), True)
    assert "| wikitext2 | bpe " in printed
    again = full(workspace)
    assert "Running stage" not in again
    assert len(mirror.asked(HUB_FILE)) == 3


def test_a_corrupt_archive_stops_one_cell_and_the_next_run_continues(workspace: Workspace, mirror: Mirror, tmp_path: Path) -> None:
    workspace.cache = tmp_path / "cache"
    whole = (mirror.folder / "pets/annotations.tar.gz").read_bytes()
    mirror.put("pets/annotations.tar.gz", whole[:-1] + b"?")
    failed = workspace.dvc("repro", "--force", "--single-item", "download@pets", check=False)
    assert failed.returncode != 0
    assert [line for line in failed.stderr.splitlines() if "MD5 is " in line and "annotations.tar.gz" in line]
    assert "Traceback" not in failed.stderr
    mirror.put("pets/annotations.tar.gz", whole)
    asked = len(mirror.asked("pets/images.tar.gz"))
    assert ran(workspace.dvc("repro", "--force", "--single-item", "download@pets")) == ["download@pets"]
    assert len(mirror.asked("pets/images.tar.gz")) == asked  # the intact archive is not fetched again


def test_without_the_hub_one_line_names_the_file_and_its_folder(workspace: Workspace, tmp_path: Path) -> None:
    workspace.cache = tmp_path / "cache"
    workspace.variables = workspace.variables | {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    failed = workspace.dvc("repro", "--force", "--single-item", "weights@vitb32", check=False)
    assert failed.returncode != 0
    lines = [line for line in failed.stderr.splitlines() if "vit_base_patch32_clip_224.openai" in line]
    assert len(lines) == 1
    assert f"put the file into {tmp_path}/cache/hub/timm/vit_base_patch32_clip_224.openai" in lines[0]
    assert "Traceback" not in failed.stderr
    assert "retrying in" not in failed.stdout + failed.stderr  # no retries if the hub cannot be reached
