"""A small project in the working folder: raw images, their index, a tiny random CLIP, and functions that run the embedding stages."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from clipstore.core.datasets import Folder
from clipstore.core.digests import file_sha256
from clipstore.core.encoders import Encoder
from clipstore.core.params import check
from clipstore.data import index as index_file
from clipstore.encoders.encoder import Encoder as Model
from clipstore.encoders.info import EncoderInfo, folder, read_info
from clipstore.encoders.libraries import MODULES
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.vision import open_clip, timm
from stages import embed_images, embed_texts, index

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
SETTINGS = index.Index(seed=0, val=0.2, test=0.2, max_unusable=0.5)


def draw(path: Path, seed: int) -> None:
    """Write an image of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 36, 3), np.uint8)).save(path)


def make_images(count: int, dataset: str = "own") -> Path:
    """Write ``count`` images of two classes into data/raw/DATASET; return that folder."""
    root = Path("data/raw") / dataset
    for number in range(count):
        draw(root / ("even" if number % 2 == 0 else "odd") / f"{number}.png", number)
    return root


def make_index(dataset: str = "own") -> index_file.Index:
    """Index data/raw/DATASET."""
    images_index = index.make(dataset, Folder(kind="folder", exif="ignore"), Path("data/raw") / dataset, SETTINGS)
    index_file.write(images_index)
    return images_index


def make_weights(name: str = "tiny", config: dict[str, Any] = TINY, seed: int = 0) -> None:
    """Write random weights of an open_clip architecture to data/weights/NAME."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config)
    preprocess = open_clip.transform.PreprocessCfg(size=config["vision_cfg"]["image_size"])
    open_clip.model.set_model_preprocess_cfg(model, dataclasses.asdict(preprocess))
    write_folder(name, model, "tiny", config, "random")


def save_weights(entry: dict[str, Any], name: str = "mine") -> EncoderInfo:
    """Write the weights of an entry of params.yaml to data/weights/NAME, in place of any others; return their encoder.json."""
    shutil.rmtree(folder(name), ignore_errors=True)
    checked: Encoder = check(Encoder, entry)
    MODULES[checked.source].save(name, checked)
    return read_info(name)


def save_timm(name: str, **arguments: Any) -> EncoderInfo:
    """Write timm's smallest transformer, with the same random weights whatever its arguments; return its encoder.json."""
    path = Path("test_vit.safetensors")
    if not path.exists():
        save_file(timm.create_model("test_vit", num_classes=0, img_size=32).state_dict(), path)
    preprocess = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "crop_pct": 0.9}
    entry = {"source": "timm_file", "architecture": "test_vit", "file": str(path), "sha256": file_sha256(path), "preprocess": preprocess}
    return save_weights(entry | {"arguments": {"img_size": 32, **arguments}}, name)


def random_crops(count: int, side: int = 32) -> torch.Tensor:
    """Return random images as an encoder receives them, uint8 (count, 3, side, side)."""
    return torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def prepared(encoder: Model, image: Image.Image) -> torch.Tensor:
    """Return the pixels that the network receives of an image, float32 (3, s, s)."""
    return encoder.crops.normalized(encoder.crop(np.asarray(image))[None])[0].cpu()


def prepare(count: int) -> None:
    """Write ``count`` images, their index and the tiny encoder."""
    make_images(count)
    make_index()
    make_weights()


def embed(monkeypatch: pytest.MonkeyPatch, precision: str = "float32", vectors: str = "float32", dataset: str = "own", **other: Any) -> int:
    """Run embed_images in this process with the tiny encoder; return the number of images computed."""
    given = {"batch_size": 4, "precision": precision, "vectors": vectors, **other}
    settings = embed_images.EmbedImages.model_validate(given)
    monkeypatch.setattr(embed_images, "section", lambda *_: settings)
    return int(embed_images.main("tiny", dataset)["images"])


def embed_prompts(monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...], dataset: str = "own") -> int:
    """Run embed_texts in this process with the tiny encoder; return the number of texts computed."""
    settings = embed_texts.EmbedTexts(batch_size=4, precision="float32")
    monkeypatch.setattr(embed_texts, "section", lambda _, name: settings if name == "embed_texts" else prompts)
    return int(embed_texts.main("tiny", dataset)["texts"])


def unigram_tokenizer() -> Any:
    """Return a small SentencePiece-like tokenizer from transformers, similar to SigLIP's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=64, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(["a photo of a lily, a type of flower", "an image of an iris", "even and odd numbers"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
