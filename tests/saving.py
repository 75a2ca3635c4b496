"""Round trip of a fitted object through files: arrays as safetensors, all other fields as JSON."""

import dataclasses
import json
from typing import Any, TypeVar, cast

import numpy as np
from safetensors.numpy import load, save

Fitted = TypeVar("Fitted")


def saved_and_loaded(fitted: Fitted) -> Fitted:
    """Return an object of the same class, built from the fields of ``fitted`` after a round trip through both formats."""
    fields: dict[str, Any] = {field.name: getattr(fitted, field.name) for field in dataclasses.fields(cast(Any, fitted))}
    arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in fields.items() if name not in arrays}
    loaded = load(save(arrays))
    for name, array in arrays.items():
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape), name
    return type(fitted)(**loaded, **json.loads(json.dumps(values)))
