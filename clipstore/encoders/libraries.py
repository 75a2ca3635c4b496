"""The module that saves and loads an encoder, found by the library in encoder.json or by the source in params.yaml.

Each has save(name, entry), load(info), backbone(info), untrained(entry) and image_vectors(model, pixels). garden_clip is saved by its own
module and is an open_clip model from then on.
"""

from clipstore.encoders import open_clip, timm, torchvision

MODULES = {
    "open_clip": open_clip,
    "open_clip_file": open_clip,
    "open_clip_repository": open_clip,
    "timm": timm,
    "timm_file": timm,
    "torchvision": torchvision,
}
