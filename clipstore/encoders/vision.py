"""The only module that imports torchvision, timm and open_clip.

torchvision's compiled operators do not load with every build of torch (a CUDA torchvision with a CPU torch, for example), and its Python
code then fails on the missing schema of ``torchvision::nms``. This project uses none of those operators, so if they do not load, their
schemas are declared once before the first import. If they load, nothing is changed.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def _operators_load() -> bool:
    """Load torchvision's compiled operators as torchvision itself does; return whether they loaded."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # nothing to declare: the import below reports what is missing
    for library in (*Path(spec.origin).parent.glob("_C*.so"), *Path(spec.origin).parent.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


if not _operators_load():
    _ABSENT = torch.library.Library("torchvision", "DEF")  # bound to a name, or its schemas would go with the object
    _ABSENT.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _ABSENT.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


@contextmanager
def _transformers_hidden() -> Iterator[None]:
    """Hide transformers from imports, unless it is already loaded.

    open_clip would import it, which takes a second, for text towers that this project rejects; its tokenizers import it when created.
    """
    hide = "transformers" not in sys.modules
    if hide:
        sys.modules["transformers"] = None  # type: ignore[assignment]  # importing it now raises ModuleNotFoundError
    try:
        yield
    finally:
        if hide:
            del sys.modules["transformers"]


with _transformers_hidden():
    import open_clip
import timm  # noqa: E402
import torchvision  # noqa: E402
from open_clip.push_to_hf_hub import save_config_for_hf  # noqa: E402  a function of the same name hides the module
from torchvision.transforms import v2  # noqa: E402

__all__ = ["open_clip", "save_config_for_hf", "timm", "torchvision", "v2"]
