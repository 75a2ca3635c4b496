"""Files from the Hugging Face hub, or the server that HF_ENDPOINT names: from local caches, or else downloaded with retries.

A file is cached if it was put into the cache folder by hand (hub/REPOSITORY/FILE), or if any program has downloaded it to
huggingface_hub's own cache.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError, LocalEntryNotFoundError, XetDownloadError

from clipstore.core.caches import root
from clipstore.core.errors import InputError
from clipstore.data.fetching import BrokenOffError, patiently, silence

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
OPTIONAL_OF_TOKENIZER = ("special_tokens_map.json", "config.json")  # only in some repositories


class NoSuchFileError(InputError):
    """A repository does not have the requested file."""


def folder(repository: str) -> Path:
    """Return the folder for files of ``repository`` that are put there by hand."""
    return root() / "hub" / repository


def file(repository: str, names: Sequence[str], kind: str = "model", revision: str = "main") -> Path:
    """Return the first of the files ``names`` that ``repository`` has.

    Args:
        repository: OWNER/NAME.
        names: file names in order of preference.
        kind: "model" or "dataset".
        revision: branch, tag or commit.

    Raises:
        NoSuchFileError: the repository has none of them.
        InputError: none is cached, and the hub cannot be reached or refuses.
    """
    for name in names:
        cached = _cached(repository, name, kind, revision)
        if cached:
            return cached
    _reach(repository, names[0])
    for name in names:
        try:
            return patiently(partial(_download, repository, name, kind, revision), f"{repository}: {name}")
        except EntryNotFoundError:
            pass
    raise NoSuchFileError(f"{repository} on {huggingface_hub.constants.ENDPOINT} has no file {' or '.join(names)}")


def tokenizer(repository: str) -> Any:
    """Return transformers' tokenizer of ``repository``.

    Its files are downloaded first, because transformers sends many requests and waits for most of a minute if the hub does not respond.

    Raises:
        InputError: a file is neither cached nor available from the hub, or the files are not a tokenizer.
    """
    from transformers import AutoTokenizer

    cached = [_cached(repository, name) for name in TOKENIZER]
    complete = all(cached)
    paths = [path or file(repository, [name]) for path, name in zip(cached, TOKENIZER, strict=True)]
    for name in OPTIONAL_OF_TOKENIZER:
        path = _cached(repository, name)
        if not path and not complete:
            with suppress(EntryNotFoundError):
                path = patiently(partial(_download, repository, name), f"{repository}: {name}")
        paths += [path] if path else []
    with TemporaryDirectory() as folder:
        for path in paths:
            shutil.copy(path, folder)
        try:
            return AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # tokenizers raises plain Exception for a file that it cannot parse
            raise InputError(f"{repository}: not a tokenizer: {str(error).splitlines()[0]}") from None


def _cached(repository: str, name: str, kind: str = "model", revision: str = "main") -> Path | None:
    by_hand = folder(repository) / name
    if by_hand.is_file():
        return by_hand
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, repo_type=kind, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _reach(repository: str, name: str) -> None:
    """Fail quickly if the hub cannot be reached: huggingface_hub itself keeps trying for most of a minute."""
    address = huggingface_hub.constants.ENDPOINT
    reason = "HF_HUB_OFFLINE is set" if huggingface_hub.is_offline_mode() else silence(address)
    if reason:
        raise InputError(
            f"{repository}: {name} is not cached, and {address} cannot be reached ({reason}): put the file into {folder(repository)}"
        )


def _download(repository: str, name: str, kind: str = "model", revision: str = "main") -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, repo_type=kind, revision=revision))
    except HfHubHTTPError as error:
        if isinstance(error, EntryNotFoundError):
            raise
        status = error.response.status_code
        reason = str(error).splitlines()[0]
        if status < 500 and status != 429:
            raise InputError(f"{repository}: the hub responded {status}: {reason}") from None
        raise BrokenOffError(reason) from None
    except LocalEntryNotFoundError as error:  # the hub responded to none of the library's retries
        raise InputError(f"{repository}: {name}: the hub stopped responding: {str(error.__cause__ or error).splitlines()[0]}") from None
    except (OSError, HTTPError, XetDownloadError) as error:  # an unexpected file size or a broken connection
        raise BrokenOffError(str(error).splitlines()[0]) from None
