"""Save a fitted object as later work does, arrays as safetensors and the rest as JSON, and load it again."""

import dataclasses
import json
from typing import Any, TypeVar, cast

import numpy as np
from safetensors.numpy import load, save

Fitted = TypeVar("Fitted")


def saved_and_loaded(fitted: Fitted) -> Fitted:
    """Return an object of the same class, built from the fields of ``fitted`` after both formats have written and read them."""
    fields: dict[str, Any] = {field.name: getattr(fitted, field.name) for field in dataclasses.fields(cast(Any, fitted))}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in fields.items() if name not in arrays}
    loaded = load(save(arrays))
    for name, array in arrays.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape), name
    return type(fitted)(**loaded, **json.loads(json.dumps(values)))
