"""Embed a data set's images: `dvc repro -s embed_images@ENCODER-DATASET`.

Reads the index, the images that it lists and the encoder's weights; writes images.parquet, images.npy and contract.json to
data/embeddings/ENCODER-DATASET. Rows in the row cache are reused; if it has all of them, no model is loaded.
"""

import json
import time
from typing import Any, Literal

from pydantic import Field
from tqdm import tqdm

from clipstore.core import digests
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.encoders import contract
from clipstore.encoders.info import read_info
from clipstore.store import embeddings


class EmbedImages(Section):
    """How images are embedded; all but vectors is part of the contract."""

    batch_size: int = Field(ge=1, le=4096, description="Images per batch; part of the contract, since it can change the last bits.")
    resize: Literal["pillow", "torch"] = Field(
        "pillow",
        description="Library that resizes images, part of the contract: torch is about three times as fast and differs by rounding; "
        "a warning says where that changes nearest neighbours.",
    )
    jpeg_scaling: bool = Field(
        False,
        description="Whether large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, at least twice the size they are resized to; "
        "part of the contract. A warning says where that changes nearest neighbours.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        description="Precision of the computation; auto is bfloat16 where it is fast and measured to be accurate, else float32."
    )
    vectors: Literal["float32", "float16"] = Field(description="Type of the vectors in images.parquet.")


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the image embeddings of one cell."""
    from clipstore.encoders import feeding, fidelity
    from clipstore.encoders.encoder import Encoder
    from clipstore.encoders.precision import device, hardware

    settings = section(EmbedImages, "embed_images")
    images_index = index.read(dataset)
    rows = images_index.usable
    info = read_info(encoder)
    precision = fidelity.resolve(settings.precision, info, "images")
    terms = contract.of_images(info, precision, settings.batch_size, hardware(), images_index.exif, settings.resize, settings.jpeg_scaling)
    fidelity.check_preparation(info, settings.resize, settings.jpeg_scaling)
    paths, keys = rows["path"].tolist(), rows["sha256"].tolist()
    seconds = 0.0

    def batches(missing: list[int]) -> embeddings.Batches:
        nonlocal seconds
        model = Encoder(info, precision, settings.batch_size, settings.resize)
        sources = [(paths[each], keys[each]) for each in missing]
        start = time.perf_counter()
        with tqdm(total=len(missing), desc=f"embed {encoder}-{dataset}", unit="img", mininterval=1) as bar:
            for positions, batch in feeding.embedded(model, sources, images_index.exif, settings.jpeg_scaling):
                yield [missing[position] for position in positions], batch
                bar.update(len(positions))
        seconds = time.perf_counter() - start

    vectors, computed = embeddings.compute([bytes.fromhex(key) for key in keys], terms, batches)
    target = embeddings.folder(encoder, dataset)
    failed = len(images_index.rows) - len(rows)
    provenance = {"classes": images_index.classes, "failed": failed, "index": images_index.digest, "contract": digests.json_sha256(terms)}
    embeddings.write_images(target, rows, vectors, provenance, settings.vectors)
    (target / "contract.json").write_text(json.dumps(terms, indent=2) + "\n")
    images_per_second = round(computed / seconds, 1) if computed else 0.0
    speed = f", {images_per_second} images/s ({precision}, {device()})" if computed else ""
    print(f"embed_images {encoder}-{dataset}: {computed} computed, {len(rows) - computed} reused, {failed} failed{speed}")
    return {"device": device(), "precision": precision, "images": computed, "images_per_second": images_per_second}


if __name__ == "__main__":
    run(main)
