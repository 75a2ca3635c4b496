"""Embed a data set's images: python -m stages.embed_images ENCODER DATASET.

Reads the index, the images that it lists and the encoder's weights; writes images.parquet, images.npy and contract.json into
data/embeddings/ENCODER-DATASET. Rows come from the row cache where it has them; when it has all, no model is loaded.
"""

import json
import time
from typing import Any, Literal

from pydantic import Field
from tqdm import tqdm

from clipstore.core import digests
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.data import images, index
from clipstore.encoders import contract, info
from clipstore.store import embeddings


class EmbedImages(Section):
    """How images are embedded; batch and precision are part of the contract."""

    batch_size: int = Field(ge=1, le=4096)  # images
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    vectors: Literal["float32", "float16"]  # as stored in images.parquet


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the image embeddings of one cell."""
    import torch

    from clipstore.encoders import encoder as encoders

    settings = section(EmbedImages, "embed_images")
    listed = index.read(dataset)
    rows = listed.usable
    card = info.read_info(encoder)
    precision, device = encoders.resolve(settings.precision, card), encoders.device()
    terms = contract.of_images(card, precision, settings.batch_size, device)
    paths, keys = rows["path"].tolist(), rows["sha256"].tolist()
    seconds = 0.0

    def batches(positions: list[int]) -> embeddings.Batches:
        nonlocal seconds
        model = encoders.Encoder(card, precision, settings.batch_size)
        start = time.perf_counter()
        decoded = images.in_order(lambda at: model.transform(images.load(paths[at], keys[at])), positions, ahead=2 * settings.batch_size)
        with tqdm(total=len(positions), desc=f"embed {encoder}-{dataset}", unit="img", mininterval=1) as bar:
            for some in embeddings.batched(positions, settings.batch_size):
                yield some, model.encode_images(torch.stack([next(decoded) for _ in some]))
                bar.update(len(some))
        seconds = time.perf_counter() - start

    vectors, computed = embeddings.compute([bytes.fromhex(key) for key in keys], terms, batches)
    target = embeddings.folder(encoder, dataset)
    failed = len(listed.rows) - len(rows)
    provenance = {"classes": listed.classes, "failed": failed, "index": listed.digest, "contract": digests.json_sha256(terms)}
    embeddings.write_images(target, rows, vectors, provenance, settings.vectors)
    (target / "contract.json").write_text(json.dumps(terms, indent=2) + "\n")
    speed = round(computed / seconds, 1) if computed else 0.0
    at = f", {speed} images/s ({precision}, {device})" if computed else ""
    print(f"embed_images {encoder}-{dataset}: {computed} computed, {len(rows) - computed} reused, {failed} failed{at}")
    return {"device": device, "precision": precision, "images": computed, "images_per_second": speed}


if __name__ == "__main__":
    run(main)
