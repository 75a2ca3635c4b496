"""Write the reference vectors of tiny encoders: python -m tests.encoders.reference.

The encoders have weights from NumPy's generator, which are the same on every machine. Their vectors of a few odd images and texts are
computed as the stages compute them and guard `VERSION` of clipstore/encoders/contract.py: once a vector differs, it must be raised before
this module writes the file again.
"""

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from clipstore.data import images
from clipstore.encoders import contract, garden_clip
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import EncoderInfo, folder, read_info, write_info
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.vision import open_clip, timm, torchvision
from tests.odd import deep_grey, in_every_mode
from tests.project import TINY, save_timm

PATH = Path(__file__).with_name("reference.json")
NUMBERS = 16  # of each vector, from its start
TOLERANCE = 0.003  # root mean square of the difference, as a share of the vectors' standard deviation over the images or texts
TEXTS = ("a photo of a lily.", "  A PHOTO\tof a Lily. ", "caf&eacute; cafÃ© café", "naïve 🌼 123 one's", "一朵花", "flower " * 40)
Found = dict[str, dict[str, npt.NDArray[np.float64]]]


def seeded(model: Any) -> Any:
    """Replace the model's weights by random ones that keep its activations at a usual size; return it."""
    for number, (name, tensor) in enumerate(sorted(model.state_dict().items())):
        if tensor.is_floating_point() and name != "logit_scale":
            rng = np.random.default_rng(number)
            shape = tuple(tensor.shape)
            if len(shape) > 1:
                values = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
            elif name.endswith(("var", "weight")):
                values = rng.uniform(0.8, 1.2, shape)
            else:
                values = rng.normal(size=shape) / 10
            tensor.copy_(torch.from_numpy(np.asarray(values)))
    return model


def save_open_clip(name: str, config: dict[str, Any], **preprocess: Any) -> None:
    """Write a CLIP."""
    model = seeded(open_clip.CLIP(**config))
    settings = open_clip.transform.PreprocessCfg(size=config["vision_cfg"]["image_size"], **preprocess)
    open_clip.model.set_model_preprocess_cfg(model, dataclasses.asdict(settings))
    write_folder(name, model, name, config, "random")


def save_garden_clip() -> None:
    """Write garden_clip without training."""
    model = seeded(garden_clip.untrained(32)).to(memory_format=torch.contiguous_format)
    write_folder("garden_clip", model, "garden_clip", garden_clip.model_config(32), "random")


def save_torchvision() -> None:
    """Write a classifier of torchvision."""
    folder("torchvision").mkdir(parents=True)
    save_file(seeded(torchvision.models.shufflenet_v2_x0_5()).state_dict(), folder("torchvision") / "model.safetensors")
    preprocess = {"size": 64, "resize": 72, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    packages = {"images": ["torchvision"]}
    write_info(
        EncoderInfo("torchvision", "torchvision", "shufflenet_v2_x0_5", None, preprocess, {"embedding": 1024}, {}, None, "random", packages)
    )


@torch.no_grad()
def computed() -> Found:
    """Return, by encoder, the first numbers of the vectors of each image (by kind of vector) and text; the working folder is written to."""
    save_open_clip("open_clip", TINY)
    save_open_clip("open_clip_squashed", TINY | {"quick_gelu": True}, resize_mode="squash", interpolation="bilinear")
    save_garden_clip()
    model = timm.create_model("test_vit", num_classes=0, img_size=32)
    save_file(seeded(model).state_dict(), "test_vit.safetensors")
    save_timm("timm", act_layer="relu")
    save_torchvision()
    pictures = [images.decode(data, "ignore") for data in [*in_every_mode((90, 61)).values(), deep_grey()]]
    pictures.append(images.decode(in_every_mode((90, 61))["turned.jpg"], "apply"))
    found: Found = {}
    for name in ("open_clip", "open_clip_squashed", "garden_clip", "timm", "torchvision"):
        encoder = Encoder(read_info(name), "float32", 16)
        vectors = encoder.encode_images(torch.stack([encoder.crop(picture) for picture in pictures]))
        if read_info(name).text_vectors:
            vectors["texts"] = encoder.encode_texts(TEXTS)["embedding"]
        found[name] = {kind: values[:, :NUMBERS].astype(np.float64) for kind, values in vectors.items()}
    return found


def committed() -> Found:
    """Return the vectors in the file."""
    vectors = json.loads(PATH.read_text())["vectors"]
    return {name: {kind: np.array(values) for kind, values in kinds.items()} for name, kinds in vectors.items()}


def differences(found: Found) -> list[str]:
    """Return the encoders and kinds of vectors that differ from the committed ones; encoders that are not committed are passed over."""
    lines = []
    for name, kinds in committed().items():
        for kind, expected in kinds.items():
            scale = (expected - expected.mean(axis=0)).std()
            error = float(np.sqrt(((found[name][kind] - expected) ** 2).mean()) / scale)
            if error > TOLERANCE:
                lines.append(f"{name}, {kind}: differ by {error:.3f} of their standard deviation")
    return lines


def main() -> None:
    """Write the file; if its vectors differ and `VERSION` has not been raised, exit with an error."""
    target = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        found = computed()
        os.chdir(target)
    if PATH.exists() and json.loads(PATH.read_text())["version"] == contract.VERSION and (lines := differences(found)):
        sys.exit("\n".join([*lines, "raise VERSION in clipstore/encoders/contract.py first"]))
    vectors = {name: {kind: np.round(values, 7).tolist() for kind, values in kinds.items()} for name, kinds in found.items()}
    PATH.write_text(json.dumps({"version": contract.VERSION, "vectors": vectors}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
