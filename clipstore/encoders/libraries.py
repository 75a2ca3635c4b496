"""The module that saves and loads an encoder, by its library in encoder.json or its source in params.yaml.

Each module has save(name, entry), load(info), backbone(info), untrained(entry) and image_vectors(model, pixels). garden_clip is saved by a
separate module and loaded as an open_clip model.
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
