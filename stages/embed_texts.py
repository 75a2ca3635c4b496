"""Embed a data set's class names in every prompt: `dvc repro -s embed_texts@ENCODER-DATASET`.

Reads the class names from the index, the data set's prompts and the encoder's weights; writes texts.parquet, texts.npy and
texts_contract.json to data/embeddings/ENCODER-DATASET.
"""

import hashlib
import json
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from clipstore.core import digests
from clipstore.core.params import Section, section
from clipstore.core.schema import Prompts
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.encoders import contract
from clipstore.encoders.info import read_info
from clipstore.store import embeddings

NAMED = 3  # texts or groups of classes in a warning


class EmbedTexts(Section):
    """How texts are embedded; both are part of their contract."""

    batch_size: int = Field(ge=1, le=4096, description="Texts per batch; part of the contract, since it can change the last bits.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        description="Precision of the computation; auto is bfloat16 where it is fast and measured to be accurate, else float32."
    )


def prompted(classes: list[str], prompts: Prompts) -> pd.DataFrame:
    """Return one row per prompt and class: class_name, label, prompt (its number), text."""
    return pd.DataFrame(
        [
            {"class_name": name, "label": label, "prompt": number, "text": prompt.replace("{}", name)}
            for number, prompt in enumerate(prompts)
            for label, name in enumerate(classes)
        ]
    )


def equal_classes(rows: pd.DataFrame, tokens: npt.NDArray[np.int64]) -> list[list[str]]:
    """Return the groups of classes that some prompt gives the same tokens, and therefore the same vector.

    Args:
        rows: of `prompted`, with the columns class_name, label and prompt.
        tokens: (n, context length), a row of tokens for each of them.
    """
    groups: dict[tuple[int, ...], list[str]] = {}  # by label
    for _, prompt in rows.assign(tokens=[row.tobytes() for row in tokens]).groupby("prompt"):
        for _, same in prompt.groupby("tokens", sort=False):
            if len(same) > 1:
                groups.setdefault(tuple(same["label"]), same["class_name"].tolist())
    return [groups[labels] for labels in sorted(groups)]


def warnings(rows: pd.DataFrame, cut: list[int], equal: list[list[str]], context: int) -> list[str]:
    """Return a line for the texts that are cut and one for the classes that cannot be distinguished, where there are any.

    Args:
        rows: of `prompted`.
        cut: positions of the texts that are longer than the encoder reads.
        equal: groups of classes with the same tokens.
        context: tokens that the encoder reads of a text.
    """
    lines = []
    if cut:
        texts = "1 text is" if len(cut) == 1 else f"{len(cut)} texts are"
        lines.append(f"{texts} cut to {context} tokens, of {len(rows)}: {_listed([repr(text) for text in rows['text'].iloc[cut]])}")
    if equal:
        names = _listed([" = ".join(repr(name) for name in group) for group in equal])
        lines.append(
            f"{_count(equal)} of {rows['label'].nunique()} classes have the same tokens as another class in some prompt, "
            f"so zero-shot cannot distinguish them there: {names}"
        )
    return lines


def _count(equal: list[list[str]]) -> int:
    """Return the number of classes in the groups."""
    return len({name for group in equal for name in group})


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the text embeddings of one cell; print which texts are cut and which classes get the same tokens."""
    from clipstore.encoders import fidelity
    from clipstore.encoders.encoder import Encoder
    from clipstore.encoders.precision import device, hardware
    from clipstore.encoders.tokenized import tokenized

    settings = section(EmbedTexts, "embed_texts")
    rows = prompted(index.read(dataset).classes, section(Prompts, f"prompts.{dataset}"))
    texts = rows["text"].tolist()
    info = read_info(encoder)
    precision = fidelity.resolve(settings.precision, info, "texts")
    terms = contract.of_texts(info, precision, settings.batch_size, hardware())

    def batches(missing: list[int]) -> embeddings.Batches:
        model = Encoder(info, precision, settings.batch_size)
        with tqdm(total=len(missing), desc=f"embed {encoder}", unit="text", mininterval=1) as bar:
            for positions in embeddings.batched(missing, settings.batch_size):
                yield positions, model.encode_texts([texts[position] for position in positions])
                bar.update(len(positions))

    read = tokenized(info, texts)
    equal = equal_classes(rows, read.tokens)
    doubts = warnings(rows, read.cut, equal, read.tokens.shape[1])
    for line in doubts:
        print(f"warning: embed_texts {encoder}-{dataset}: {line}")
    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    vectors, computed = embeddings.compute(keys, terms, batches)
    target = embeddings.folder(encoder, dataset)
    embeddings.write_texts(target, rows, vectors["embedding"], {"contract": digests.json_sha256(terms), "warnings": doubts})
    (target / "texts_contract.json").write_text(json.dumps(terms, indent=2) + "\n")
    print(f"embed_texts {encoder}-{dataset}: {computed} computed, {len(rows) - computed} reused")
    return {"device": device(), "precision": precision, "texts": computed, "cut_texts": len(read.cut), "equal_classes": _count(equal)}


if __name__ == "__main__":
    run(main)
