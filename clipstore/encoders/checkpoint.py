"""Load an encoder from a checkpoint of a training run: find its tensors below wrappers and prefixes, and leave the others out.

A prefix is accepted only if it gives every tensor of the encoder in the same shape, and if no further tensor belongs to a part of the
encoder: a checkpoint of a variant, with register tokens for example, would load without an error and give wrong vectors.
"""

import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from clipstore.core.errors import InputError

NAMED = 3  # tensors in a message
OPTIONAL = "num_batches_tracked"  # BatchNorm counts batches only while training
OF_JIT = ("input_resolution", "context_length", "vocab_size")  # numbers among the tensors of OpenAI's archives


class Candidate(NamedTuple):
    """A prefix of the names in one mapping of a checkpoint.

    Attributes:
        place: keys that lead to the mapping, joined by dots; "" for the file itself.
        state: the mapping's tensors.
        prefix: what precedes the encoder's own names, for example "module.".
        matches: required tensors of the encoder that are there in the right shape.
    """

    place: str
    state: dict[str, torch.Tensor]
    prefix: str
    matches: int


def load_weights(model: nn.Module, path: Path, architecture: str, classifiers: Iterable[str] = ()) -> None:
    """Load the encoder's tensors from a file into ``model``; print what was left out.

    Args:
        model: the encoder.
        path: a file of safetensors or torch, read without running code from it.
        architecture: the library's name of the encoder, for messages.
        classifiers: names of the modules that the encoder lacks, although its library gives the architecture one: "head.fc".

    Raises:
        InputError: the file includes Python objects, or not all tensors of the encoder, or more than one set of them.
    """
    candidates = [candidate for place, state in _mappings(_read(path)) for candidate in _candidates(place, state, model)]
    expected = _required(model)
    fitting = [candidate for candidate in candidates if candidate.matches == len(expected)]
    if not fitting:
        best = max(candidates, key=lambda candidate: (candidate.matches, -len(candidate.prefix)), default=None)
        raise InputError(f"{path}: expected weights of {architecture}: {_reason(model, best, classifiers)}")
    first = fitting[0]
    if any(not _equal(first, other, expected) for other in fitting[1:]):
        names = ", ".join(_name(candidate) for candidate in fitting)
        raise InputError(f"{path}: {len(fitting)} sets of weights of {architecture} ({names}); expected one: save it alone")
    own = {first.prefix + name for name in model.state_dict()}
    rest = [name for name in first.state if name not in own]
    foreign = [name for name in rest if name.startswith(first.prefix) and _is_part(name.removeprefix(first.prefix), model, classifiers)]
    if foreign:
        raise InputError(f"{path}: expected weights of {architecture}: {differences([], foreign, [])}")
    model.load_state_dict(
        {name: first.state[first.prefix + name] for name in model.state_dict() if first.prefix + name in first.state}, False
    )
    if rest or first.prefix or first.place:
        left_out = f"left out {_tensors(len(rest))}: {_listed(rest)}" if rest else "left out no tensor"
        print(f"{path}: loaded {_tensors(len(own & first.state.keys()))} of {architecture}{_origin(first)}; {left_out}")


def differences(missing: list[str], unexpected: list[str], mismatching: list[str]) -> str:
    """Return what separates a file from an architecture: counts and the first names of each kind, in one line."""
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", mismatching))
    return "; ".join(f"{_tensors(len(names))} {kind}: {_listed(names)}" for kind, names in kinds if names)


def one_line(error: Exception) -> str:
    """Return the message of an exception in one line; of torch's ``load_state_dict``, the tensors that do not fit."""
    if kind := _python_object(error):
        return f"includes a Python object ({kind}), and reading one can run code from the file"
    if isinstance(error, pickle.UnpicklingError):
        return "not a checkpoint of torch or safetensors, or a damaged one"
    lines = str(error).splitlines() or [type(error).__name__]
    named = {key: re.findall(r'"([^"]+)"', line) for line in lines[1:] for key in ("Missing", "Unexpected") if f"{key} key(s)" in line}
    mismatching = re.findall(r"size mismatch for ([^:\s]+):", str(error))
    if named or mismatching:
        return differences(named.get("Missing", []), named.get("Unexpected", []), mismatching)
    return lines[0]


def _read(path: Path) -> Any:
    """Return the contents of a file.

    Raises:
        InputError: the file includes objects other than tensors and plain values.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_torchscript(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch has no other reader of such archives
            state = torch.jit.load(path, "cpu").state_dict()
        return {name: tensor for name, tensor in state.items() if name not in OF_JIT}
    try:
        return torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        if not _python_object(error):
            raise
        raise InputError(
            f"{path}: {one_line(error)}; expected tensors alone: save the state dict alone with torch.save(model.state_dict(), ...)"
        ) from None


def _python_object(error: Exception) -> str:
    """Return the kind of object on which torch.load stopped; "" for another error."""
    kind = re.search(r"GLOBAL (\S+)", str(error))
    return kind[1] if kind and isinstance(error, pickle.UnpicklingError) else ""


def is_torchscript(path: Path) -> bool:
    """Return whether a file is an archive of torch.jit."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _mappings(contents: Any, place: str = "") -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield every mapping in a checkpoint that has tensors, with the keys that lead to it."""
    if not isinstance(contents, Mapping):
        return
    tensors = {key: value for key, value in contents.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if tensors:
        yield place, tensors
    for key, value in contents.items():
        yield from _mappings(value, f"{place}.{key}" if place else str(key))


def _required(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(OPTIONAL)}


def _candidates(place: str, state: dict[str, torch.Tensor], model: nn.Module) -> list[Candidate]:
    """Return one candidate for each prefix under which a required tensor is present."""
    expected = _required(model)
    counts: Counter[str] = Counter({"": 0})
    for key, tensor in state.items():
        for start in (0, *(match.end() for match in re.finditer(r"\.", key))):
            other = expected.get(key[start:])
            if other is not None:
                counts[key[:start]] += other.shape == tensor.shape
    return [Candidate(place, state, prefix, matches) for prefix, matches in counts.items()]


def _equal(first: Candidate, other: Candidate, names: Iterable[str]) -> bool:
    return all(torch.equal(first.state[first.prefix + name], other.state[other.prefix + name]) for name in names)


def _is_part(name: str, model: nn.Module, classifiers: Iterable[str]) -> bool:
    """Return whether a tensor belongs to a part that the model has too, but without this tensor, as in a variant of the architecture.

    Buffers that the model computes itself, such as attention masks, do not count: older versions of libraries saved them.
    """
    buffers = {key for key, _ in model.named_buffers()}
    return hasattr(model, name.partition(".")[0]) and name not in buffers and not _is_of(name, classifiers)


def _is_of(name: str, modules: Iterable[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _reason(model: nn.Module, best: Candidate | None, classifiers: Iterable[str]) -> str:
    """Return why the best candidate does not fit."""
    if best is None:
        return "it has no named tensors"
    expected = _required(model)
    names = {name.removeprefix(best.prefix): name for name in best.state if name.startswith(best.prefix)}
    if not expected.keys() & names.keys():
        return f"none of the {_tensors(len(expected))} is among the {_tensors(len(best.state))} of the file: {_listed(list(best.state))}"
    mismatching = [
        f"{name} {tuple(best.state[names[name]].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in names and best.state[names[name]].shape != tensor.shape
    ]
    missing = [name for name in expected if name not in names]
    unexpected = [name for name in names if name not in model.state_dict() and not _is_of(name, classifiers)]
    return differences(missing, unexpected, mismatching) + _origin(best)


def _name(candidate: Candidate) -> str:
    return " ".join(part for part in (candidate.place, candidate.prefix and f"{candidate.prefix}*") if part) or "without a prefix"


def _origin(candidate: Candidate) -> str:
    return f" ({_name(candidate)})" if candidate.place or candidate.prefix else ""


def _tensors(count: int) -> str:
    return f"{count} {'tensor' if count == 1 else 'tensors'}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
