"""Embed a data set's class names in every prompt: `dvc repro -s embed_texts@ENCODER-DATASET`.

Reads the class names of the index, the data set's prompts and the encoder's weights; writes texts.parquet, texts.npy and
texts_contract.json into data/embeddings/ENCODER-DATASET.
"""

import hashlib
import json
from typing import Any, Literal

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


class EmbedTexts(Section):
    """How texts are embedded; both are part of their contract."""

    batch_size: int = Field(ge=1, le=4096, description="Texts per batch; part of the contract, since it can change the last bits.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        description="Precision of the computation; auto is bfloat16 where it is fast and measured to be accurate, else float32."
    )


def prompted(classes: list[str], prompts: Prompts) -> pd.DataFrame:
    """Return one row for each prompt and class: class_name, label, prompt (its number), text."""
    return pd.DataFrame(
        [
            {"class_name": name, "label": label, "prompt": number, "text": prompt.replace("{}", name)}
            for number, prompt in enumerate(prompts)
            for label, name in enumerate(classes)
        ]
    )


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the text embeddings of one cell."""
    from clipstore.encoders.encoder import Encoder
    from clipstore.encoders.precision import device, resolve

    settings = section(EmbedTexts, "embed_texts")
    rows = prompted(index.read(dataset).classes, section(Prompts, f"prompts.{dataset}"))
    texts = rows["text"].tolist()
    info = read_info(encoder)
    precision = resolve(settings.precision, info)
    terms = contract.of_texts(info, precision, settings.batch_size, device())

    def batches(missing: list[int]) -> embeddings.Batches:
        model = Encoder(info, precision, settings.batch_size)
        with tqdm(total=len(missing), desc=f"embed {encoder}", unit="text", mininterval=1) as bar:
            for positions in embeddings.batched(missing, settings.batch_size):
                yield positions, model.encode_texts([texts[position] for position in positions])
                bar.update(len(positions))

    keys = [hashlib.sha256(text.encode()).digest() for text in texts]
    vectors, computed = embeddings.compute(keys, terms, batches)
    target = embeddings.folder(encoder, dataset)
    embeddings.write_texts(target, rows, vectors["embedding"], {"contract": digests.json_sha256(terms)})
    (target / "texts_contract.json").write_text(json.dumps(terms, indent=2) + "\n")
    print(f"embed_texts {encoder}-{dataset}: {computed} computed, {len(rows) - computed} reused")
    return {"device": device(), "precision": precision, "texts": computed}


if __name__ == "__main__":
    run(main)
