"""The entries for MobileCLIP2, PE-Core, MetaCLIP 2 and DINOv3 build, are saved and give the vectors of their libraries, on random weights.

Smaller configurations of the same parts replace those that are too large for a test; the published preprocessing is kept.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file

from clipstore.core.encoders import Encoder as Entry
from clipstore.core.params import check
from clipstore.data import fetching
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.vision import open_clip, timm
from clipstore.tools import plan
from tests.mirror import Mirror, serving, use_as_hub
from tests.odd import drawn
from tests.project import prepared, save_weights
from tests.workspace import PROJECT

pytestmark = pytest.mark.slow

ENTRIES: dict[str, dict[str, Any]] = YAML(typ="safe").load(PROJECT / "params.yaml")["encoders"]
OPENAI = (0.48145466, 0.4578275, 0.40821073)
SMALL: dict[str, dict[str, dict[str, Any]]] = {  # changes of the architecture
    "mobileclip2_s2": {"vision_cfg": {"timm_model_name": "fastvit_mci0"}, "text_cfg": {"width": 64, "heads": 1, "layers": 1}},
    "pe_core_b16": {
        "vision_cfg": {"timm_model_name": "vit_pe_core_tiny_patch16_384", "image_size": 384},
        "text_cfg": {"width": 64, "heads": 1, "layers": 1},
    },
    "metaclip2_h14": {
        "vision_cfg": {"layers": 2, "width": 160},
        "text_cfg": {"width": 64, "heads": 1, "layers": 1, "vocab_size": 64},
    },
}
PREPROCESS: dict[str, dict[str, Any]] = {
    "mobileclip2_s2": {"mean": (0, 0, 0), "std": (1, 1, 1), "resize_mode": "shortest", "interpolation": "bilinear"},
    "pe_core_b16": {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "squash", "interpolation": "bilinear"},
    "metaclip2_h14": {"mean": OPENAI, "resize_mode": "shortest", "interpolation": "bicubic"},
}
PHOTOGRAPHS = [drawn(seed, (300, 240)) for seed in range(3)]
TEXTS = ["a lily", "a photo of an iris", "flowers " * 90]


@pytest.fixture
def hub(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        yield mirror


@torch.no_grad()
def varied(model: Any, pixels: torch.Tensor) -> Any:
    """Replace matrices, gains, biases and the statistics of BatchNorm: initially, all images have nearly the same vector."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "gamma" in name or "layer_scale" in name or (parameter.ndim == 1 and name.endswith("weight")):
            parameter.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("bias") and parameter.ndim == 1:
            parameter.normal_(0, 0.3, generator=generator)
        elif parameter.ndim == 2:
            parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    model.train()
    (model.encode_image if hasattr(model, "encode_image") else model)(pixels)
    return model.eval()


def assert_alike(vectors: Any, expected: torch.Tensor) -> None:
    """Every vector equals its own expectation and is further from all others than is tolerated."""
    theirs = expected.detach().numpy()
    np.testing.assert_allclose(vectors, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())
    apart = [np.abs(theirs[i] - theirs[j]).max() for i in range(len(theirs)) for j in range(i)]
    assert min(apart) > 1e-2 * np.abs(theirs).max()


def xlm_tokenizer() -> Any:
    """Return a small tokenizer with the special tokens of XLM-V: start, padding, end and unknown are 0 to 3."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=64, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(["a photo of a lily, a type of flower", "an image of an iris", "flowers"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def crops_of(encoder: Encoder) -> torch.Tensor:
    return torch.stack([encoder.crop(np.asarray(photograph)) for photograph in PHOTOGRAPHS])


def assert_same_as_open_clip(hub: Mirror, name: str) -> None:
    """Publish random weights under the entry's tag; compare our vectors, tokens and pixels with those of open_clip."""
    entry = ENTRIES[name]
    architecture, tag = entry["architecture"], entry["tag"]
    published = open_clip.get_pretrained_cfg(architecture, tag)
    repository = hub.folder / published["hf_hub"].strip("/") / "resolve/main"
    repository.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(architecture, load_weights=False)
        side = model.visual.image_size[0] if isinstance(model.visual.image_size, tuple) else model.visual.image_size
        varied(model, torch.rand(4, 3, side, side))
    save_file(model.state_dict(), repository / "open_clip_model.safetensors")
    if tokenizer := open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name"):
        xlm_tokenizer().save_pretrained(hub.folder / tokenizer / "resolve/main")
    info = save_weights(entry)
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in info.preprocess.items()}.items() >= (
        PREPROCESS[name].items()
    )
    theirs, _, transform = open_clip.create_model_and_transforms(architecture, pretrained=tag, require_pretrained=True)
    theirs.eval()
    encoder = Encoder(info, "float32", len(PHOTOGRAPHS))
    pixels = torch.stack([transform(photograph) for photograph in PHOTOGRAPHS])
    assert torch.equal(torch.stack([prepared(encoder, photograph) for photograph in PHOTOGRAPHS]), pixels)
    source = f"local-dir:data/weights/{info.name}" if tokenizer else architecture  # open_clip's own fetch of it needs the hub's API
    tokens = open_clip.get_tokenizer(source)(TEXTS)
    assert torch.equal(encoder.tokenize(TEXTS), tokens)
    with torch.inference_mode():
        assert_alike(encoder.encode_images(crops_of(encoder))["embedding"], theirs.encode_image(pixels))
        assert_alike(encoder.encode_texts(TEXTS)["embedding"], theirs.encode_text(tokens))


@pytest.mark.parametrize("name", SMALL)
def test_vectors_are_those_of_open_clip(hub: Mirror, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    architecture = ENTRIES[name]["architecture"]
    config = open_clip.get_model_config(architecture)
    small = config | {part: config[part] | changes for part, changes in SMALL[name].items()}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, architecture, small)
    assert_same_as_open_clip(hub, name)


def test_dinov3_gives_the_vectors_of_timm(hub: Mirror) -> None:
    entry = ENTRIES["dinov3_b16"] | {"architecture": "vit_small_patch16_dinov3.lvd1689m"}
    repository = hub.folder / "timm" / entry["architecture"] / "resolve/main"
    repository.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = varied(timm.create_model(entry["architecture"], num_classes=0), torch.rand(1, 3, 256, 256))
    save_file(model.state_dict(), repository / "model.safetensors")
    info = save_weights(entry)
    theirs = timm.create_model(entry["architecture"], pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    encoder = Encoder(info, "float32", len(PHOTOGRAPHS))
    pixels = torch.stack([transform(photograph) for photograph in PHOTOGRAPHS])
    assert pixels.shape[2:] == (256, 256)
    assert torch.equal(torch.stack([prepared(encoder, photograph) for photograph in PHOTOGRAPHS]), pixels)
    with torch.inference_mode():
        assert_alike(encoder.encode_images(crops_of(encoder))["embedding"], theirs(pixels))


@pytest.mark.parametrize(
    ("name", "megabytes", "side", "numbers"),
    [
        ("mobileclip2_s2", 397, 256, 512 + 1280),
        ("pe_core_b16", 1791, 224, 1024 + 768),
        ("metaclip2_h14", 7435, 224, 1024 + 1280),
        ("dinov3_b16", 343, 256, 768),
    ],
)
def test_each_entry_builds_at_its_full_size(name: str, megabytes: float, side: int, numbers: int) -> None:
    size = plan.size_of_encoder(name, check(Entry, ENTRIES[name]))
    assert (round(size.megabytes), size.side, size.numbers) == (megabytes, side, numbers)
