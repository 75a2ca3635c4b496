"""open_clip's repositories: open_clip_config.json, the weights and, where the configuration names one, a tokenizer of transformers.

They are on the Hugging Face hub or in a local folder.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from clipstore.core.encoders import OPEN_CLIP_WEIGHTS, OpenClipRepository
from clipstore.core.errors import InputError
from clipstore.data import hub

CONFIG = "open_clip_config.json"


class Repository(NamedTuple):
    """An open_clip repository.

    Attributes:
        entry: the entry in params.yaml.
        config: contents of open_clip_config.json: model_cfg and preprocess_cfg.
    """

    entry: OpenClipRepository
    config: dict[str, Any]

    @property
    def model_cfg(self) -> dict[str, Any]:
        """The architecture, as open_clip's own tables describe theirs."""
        config: dict[str, Any] = self.config["model_cfg"]
        return config

    def weights(self) -> Path:
        """Return the file with the weights, fetched if necessary.

        Raises:
            InputError: there is none, or it cannot be fetched.
        """
        return _file(self.entry, OPEN_CLIP_WEIGHTS)

    def tokenizer(self) -> Any:
        """Return the tokenizer of transformers that open_clip uses, or None for CLIP's own.

        Raises:
            InputError: it cannot be fetched, or its files are not a tokenizer.
        """
        repository = self.model_cfg["text_cfg"].get("hf_tokenizer_name")
        if not repository:
            return None
        return hub.tokenizer(repository) if self.entry.folder is None else _local_tokenizer(self.entry.folder)


def read(entry: OpenClipRepository) -> Repository:
    """Fetch and read open_clip_config.json.

    Raises:
        InputError: the repository or folder does not exist or is not an open_clip repository, or the hub cannot be reached.
    """
    if entry.folder is not None and not entry.folder.is_dir():
        raise InputError(f"{entry.repository}: {entry.problem()}")
    path = _config(entry)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        complete = isinstance(config, dict) and {"embed_dim", "vision_cfg", "text_cfg"} <= set(config.get("model_cfg", ()))
    except ValueError as error:
        raise InputError(f"{entry.repository}: {CONFIG}: {error}") from None
    if not complete:
        raise InputError(f"{entry.repository}: {CONFIG}: expected model_cfg with embed_dim, vision_cfg and text_cfg")
    return Repository(entry, config)


def link(repository: Repository, weights: Path | None, folder: Path) -> str:
    """Write the configuration and a link to the weights into a folder; return its address for open_clip."""
    (folder / CONFIG).write_text(json.dumps(repository.config))
    if weights is not None:
        (folder / OPEN_CLIP_WEIGHTS[weights.suffix != ".safetensors"]).symlink_to(weights.resolve())
    return f"local-dir:{folder}"


def _config(entry: OpenClipRepository) -> Path:
    """Return the path of open_clip_config.json.

    Raises:
        InputError: it does not exist or cannot be fetched; where the repository is known to be another library's, the message names that.
    """
    try:
        return _file(entry, [CONFIG])
    except hub.NoSuchFileError:
        pass
    try:
        other = json.loads(_file(entry, ["config.json"]).read_text(encoding="utf-8"))
    except (InputError, ValueError):
        other = {}
    raise InputError(f"{entry.repository}: no file {CONFIG}, so it is not an open_clip repository{_kind(other)}")


def _kind(config: Any) -> str:
    """Return what a repository with this config.json is, as the end of a message; "" if that is unknown."""
    if not isinstance(config, dict):
        return ""
    if "architecture" in config and ("pretrained_cfg" in config or "num_classes" in config):
        tag = config.get("pretrained_cfg", {}).get("tag")
        architecture = f"{config['architecture']}.{tag}" if tag else config["architecture"]
        return f"; it is a timm model: expected source timm with architecture {architecture}"
    if "model_type" in config:
        return f"; it is a transformers model of type {config['model_type']}, which is not supported"
    return ""


def _file(entry: OpenClipRepository, names: list[str] | tuple[str, ...]) -> Path:
    """Return the first of the files that the repository has."""
    if entry.folder is None:
        return hub.file(entry.repository.removeprefix("hf-hub:"), names)
    for name in names:
        if (entry.folder / name).is_file():
            return entry.folder / name
    raise hub.NoSuchFileError(f"{entry.folder} has no file {' or '.join(names)}")


def _local_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder} has no file tokenizer.json")
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises plain Exception for a file that it cannot parse
        raise InputError(f"{folder}: not a tokenizer: {str(error).splitlines()[0]}") from None
