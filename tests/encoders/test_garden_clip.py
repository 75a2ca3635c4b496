from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clipstore.data import garden
from clipstore.encoders import garden_clip
from clipstore.encoders.vision import open_clip, save_config_for_hf

SIZE = 32


def train() -> Any:
    return garden_clip.train(seed=0, steps=2, count=1, size=SIZE)


@pytest.fixture(scope="module")
def model() -> Any:
    return train()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("garden_clip")
    save_config_for_hf(model, path / "open_clip_config.json", garden_clip.model_config(SIZE))
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    return path


def test_only_captioned_flowers_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    flowers = []

    def draw(flower: garden.Flower, rng: np.random.Generator, size: int) -> Image.Image:
        flowers.append(flower)
        return Image.new("RGB", (size, size))

    monkeypatch.setattr(garden, "draw", draw)
    garden_clip.drawings(1, SIZE, 0)
    assert flowers == list(garden.CAPTIONED)


@pytest.mark.slow
def test_training_is_reproducible_and_leaves_the_global_generator_alone(model: Any) -> None:
    torch.rand(1)  # so that the global generator's state differs from the one before the first training
    before = torch.get_rng_state()
    again = train().state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(tensor, again[key]) for key, tensor in model.state_dict().items())


def test_the_drawings_depend_on_the_seed() -> None:
    assert not torch.equal(garden_clip.drawings(1, SIZE, 0), garden_clip.drawings(1, SIZE, 1))


def test_the_model_is_ready_for_use(model: Any) -> None:
    assert not model.training
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_a_saved_model_gives_the_same_bits(model: Any, folder: Path) -> None:
    reloaded, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", require_pretrained=True)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    flower = garden.TASK[0]
    image = garden.draw(flower, np.random.default_rng(0), SIZE)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    pixels = (pixels - torch.tensor(garden_clip.MEAN).view(3, 1, 1)) / torch.tensor(garden_clip.STD).view(3, 1, 1)
    assert torch.equal(transform(image)[None], pixels)
    texts = tokenizer([garden.name(flower)])
    assert texts.shape == (1, garden_clip.CONTEXT_LENGTH)
    with torch.inference_mode():
        assert torch.equal(model.encode_image(pixels), reloaded.eval().encode_image(pixels))
        assert torch.equal(model.encode_text(texts), reloaded.encode_text(texts))
    assert torch.equal(model.logit_scale, reloaded.logit_scale)


def test_names_and_captions_fit_the_context() -> None:
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=garden_clip.CONTEXT_LENGTH + 1)
    texts = [f"An image of {garden.name(flower)}, a type of flower." for flower in garden.TASK]
    texts += [garden.caption(flower, np.random.default_rng(seed)) for flower in garden.CAPTIONED[::10] for seed in range(20)]
    assert (tokenizer(texts)[:, -1] == 0).all()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("cuda", [True, False])
def test_bfloat16_is_used_only_if_the_cpu_multiplies_it_in_hardware(monkeypatch: pytest.MonkeyPatch, fast: bool, cuda: bool) -> None:
    monkeypatch.setattr(garden_clip, "BATCH", 2)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)  # training runs on the CPU in either case
    encode_image = open_clip.CLIP.encode_image
    autocasts = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        autocasts.append(torch.is_autocast_enabled("cpu"))
        return encode_image(*arguments, **options)

    monkeypatch.setattr(open_clip.CLIP, "encode_image", recorded)
    garden_clip.train(seed=0, steps=1, count=1, size=SIZE)
    assert autocasts == [fast]
