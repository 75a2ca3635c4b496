"""Shared by the modules that save weights: find and verify a published or local file, and phrase its origin and the errors about it."""

import difflib
import pickle
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError

from clipstore.core.digests import file_sha256
from clipstore.core.encoders import OpenClipFile, OpenClipRepository, OpenClipTag, TimmFile, TimmTag
from clipstore.core.errors import InputError
from clipstore.data import hub
from clipstore.encoders.checkpoint import one_line

# Raised by torch, safetensors and the libraries for a file without weights or with another model's weights.
UNLOADABLE = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    OSError,
    EOFError,
    StopIteration,
    pickle.UnpicklingError,
    SafetensorError,
)


def unknown_architecture(name: str, architecture: str, library: str, known: Sequence[str]) -> InputError:
    """Return the error for an architecture that ``library`` does not have; it suggests the library's most similar name."""
    nearest = difflib.get_close_matches(architecture, known, 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return InputError(f"params.yaml: encoders.{name}.architecture = {architecture!r}: {library} has no such model{hint}")


def unloadable(path: Path, architecture: str, error: Exception) -> InputError:
    """Return the error for a file that cannot be loaded into ``architecture``; ``error`` is one of UNLOADABLE."""
    return InputError(f"{path}: expected weights of {architecture}: {one_line(error)}")


def local_file(name: str, entry: OpenClipFile | TimmFile) -> Path:
    """Return the entry's local file.

    Raises:
        InputError: the file does not exist, or its SHA-256 is missing from the entry or differs from it.
    """
    problem = entry.problem()
    if problem:
        raise InputError(f"params.yaml: encoders.{name}: {problem}")
    _verify(name, entry, entry.file)
    return entry.file


def hub_file(name: str, entry: OpenClipTag | TimmTag, repository: str, files: Sequence[str]) -> Path:
    """Return the first of ``files`` that the hub's ``repository`` has.

    Raises:
        InputError: the file is not cached and cannot be fetched, or its SHA-256 differs from the entry's.
    """
    path = hub.file(repository, files)
    if entry.sha256:
        _verify(name, entry, path)
    return path


def verify(name: str, entry: OpenClipRepository, path: Path) -> None:
    """Compare the file with the entry's SHA-256, if there is one.

    Raises:
        InputError: they differ.
    """
    if entry.sha256:
        _verify(name, entry, path)


def origin(path: Path, *parts: str) -> str:
    """Return the origin of weights for encoder.json: ``parts``, the file's name and its SHA-256."""
    return ", ".join([*parts, f"file {path.name}", f"SHA-256 {file_sha256(path)}"])


def _verify(name: str, entry: OpenClipFile | OpenClipRepository | OpenClipTag | TimmFile | TimmTag, path: Path) -> None:
    digest = file_sha256(path)
    if digest != entry.sha256:
        raise InputError(
            f"params.yaml: encoders.{name}.sha256 = {entry.sha256!r}: {path} has {digest}; if it is the right file, enter that digest"
        )
