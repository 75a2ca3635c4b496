"""Whatever the source, weights end as one folder in one format; a wrong entry is one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import weights
from stages.lib import encoders, tables
from stages.lib import weights as folders
from stages.lib.digests import file_sha256
from stages.lib.errors import InputError
from stages.lib.params import check
from stages.lib.vision import open_clip, timm


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random ViT-B-32 weights, as open_clip's trainer saves it."""
    path = tmp_path_factory.mktemp("checkpoint") / "vit.pt"
    torch.save({"state_dict": open_clip.create_model("ViT-B-32", pretrained=None).state_dict()}, path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> folders.Card:
    """Run the stage on one entry."""
    monkeypatch.setattr(weights, "section", lambda kind, where: check(kind, entry, where))
    weights.main("mine")
    return folders.read_card("mine")


def local(path: Path, **fields: Any) -> dict[str, Any]:
    return {"source": "open_clip_file", "file": str(path), "sha256": file_sha256(path)} | fields


@pytest.mark.timeout(120)
def test_an_open_clip_checkpoint(
    project: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = run(monkeypatch, local(checkpoint, architecture="ViT-B-32-quickgelu", tag="openai"))
    assert (card.library, card.architecture, card.activation) == ("open_clip", "ViT-B-32-quickgelu", "quick_gelu")
    assert card.image_vectors == {"embedding": 512, "features": 768}
    assert card.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert card.bfloat16_cosine > 0.999
    assert card.weights_sha256 == file_sha256(Path("data/weights/mine/open_clip_model.safetensors"))
    assert {path.name for path in Path("data/weights/mine").iterdir()} == {
        "encoder.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    given = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in given.items())
    assert "weights mine: tag openai, file vit.pt" in capsys.readouterr().out
    encoder = encoders.Encoder(card, "float32", 1)
    assert isinstance(encoder.model.visual.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU)


def test_preprocessing_comes_with_the_tag(project: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # dfn and laion weights differ from OpenAI's in interpolation or mean: what counts is the tag's own entry
    tag = "datacomp_xl_s13b_b90k"
    card = run(monkeypatch, local(checkpoint, architecture="ViT-B-32", tag=tag))
    expected = open_clip.get_pretrained_cfg("ViT-B-32", tag)
    assert list(card.preprocess["mean"]) == list(expected["mean"])
    assert card.preprocess["interpolation"] == expected.get("interpolation", "bicubic")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "ViT-B-32", "tag": "openai"}, "'ViT-B-32' runs gelu, the weights need quick_gelu: 'ViT-B-32-quickgelu'"),
        ({"architecture": "ViT-B-32-quickgelu", "activation": "gelu"}, "runs quick_gelu, the weights need gelu: 'ViT-B-32'"),
        ({"architecture": "ViT-B-33", "activation": "gelu"}, "'ViT-B-33': open_clip knows no such model; did you mean 'ViT-B-32'"),
        ({"architecture": "ViT-B-32", "tag": "opnai"}, "tag = 'opnai': open_clip's tags for ViT-B-32 are openai, "),
        ({"architecture": "ViT-B-16-SigLIP", "tag": "webli"}, "needs a Hugging Face tokenizer"),
        ({"architecture": "ViT-B-16", "tag": "laion2b_s34b_b88k"}, "vit.pt: no weights of ViT-B-16"),
        ({"architecture": "ViT-B-32", "activation": "gelu", "sha256": "0" * 64}, "sha256 = '000"),
    ],
)
def test_a_wrong_entry_is_one_line(
    project: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(monkeypatch, local(checkpoint) | fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_checkpoint_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "notes.pt"
    path.write_text("not weights")
    with pytest.raises(InputError, match=r"notes\.pt: no weights of ViT-B-32"):
        run(monkeypatch, local(path, architecture="ViT-B-32", activation="gelu"))


TIMM = {
    "source": "timm_file",
    "architecture": "resnet10t",
    "preprocess": {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "crop": 0.9},
}


def test_a_timm_encoder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    path = project / "r.safetensors"
    save_file(model.state_dict(), path)
    card = run(monkeypatch, TIMM | {"file": str(path), "sha256": file_sha256(path)})
    assert (card.library, card.image_vectors, card.text_vectors, card.logit_scale) == ("timm", {"embedding": 512}, {}, None)
    encoder = encoders.Encoder(card, "float32", 2)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(encoder.encode_images(pixels)["embedding"]), model(pixels), rtol=1e-4, atol=1e-5)
    steps = [type(step).__name__ for step in encoder.transform.transforms]  # type: ignore[attr-defined]
    assert steps[:2] == ["Resize", "CenterCrop"]
    assert encoder.transform.transforms[0].size == 71  # type: ignore[attr-defined]  # 64 / 0.9, rounded down
    assert json.loads(Path("data/weights/mine/encoder.json").read_text())["preprocess"]["crop_pct"] == 0.9


def test_weights_of_another_timm_model_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "r.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"r\.safetensors: no weights of resnet10t"):
        run(monkeypatch, TIMM | {"file": str(path), "sha256": file_sha256(path)})
    with pytest.raises(InputError, match="timm knows no such model; did you mean 'resnet10t'"):
        run(monkeypatch, TIMM | {"architecture": "resnet10x", "file": str(path), "sha256": file_sha256(path)})


def test_garden_clip_is_trained_by_its_entry(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda: {"seed": 0})
    entry = {"source": "garden", "size": 64, "drawings": 1, "steps": 1}
    card = run(monkeypatch, entry)
    assert isinstance(check(tables.Encoder, entry), tables.GardenClip)
    assert card.image_vectors == {"embedding": 128, "features": 512}
    assert card.origin == "trained on drawings, 1 steps"


def test_published_weights_that_cannot_be_had_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network\nand a long explanation")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(InputError, match=r"^openai: no weights of ViT-B-32-quickgelu: no network$"):
        run(monkeypatch, {"source": "open_clip", "architecture": "ViT-B-32-quickgelu", "tag": "openai"})


@pytest.mark.timeout(120)
def test_published_weights_are_kept_with_their_tag(project: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = open_clip.create_model
    asked = []

    def cached(architecture: str, pretrained: str, **arguments: Any) -> Any:
        asked.append((architecture, pretrained))
        return create(architecture, pretrained=str(checkpoint), **arguments)

    monkeypatch.setattr(open_clip, "create_model", cached)
    card = run(monkeypatch, {"source": "open_clip", "architecture": "ViT-B-32-quickgelu", "tag": "openai"})
    assert asked == [("ViT-B-32-quickgelu", "openai")]
    assert (card.origin, card.activation) == ("tag openai", "quick_gelu")
