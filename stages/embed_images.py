"""Embed a data set's images: `dvc repro -s embed_images@ENCODER-DATASET`.

Reads the index, the images that it lists and the encoder's weights; writes images.parquet, images.npy and contract.json to
data/embeddings/ENCODER-DATASET. Rows in the row cache are reused; if it has all of them, no model is loaded.
"""

import json
import time
from typing import Annotated, Any, Literal

from pydantic import Field
from tqdm import tqdm

from clipstore.core import digests
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.encoders import contract
from clipstore.encoders.info import read_info
from clipstore.store import embeddings

AUTO_BATCH = {"cpu": 32, "cuda": 256}  # a GPU needs more rows to be busy; on a CPU, each core holds a batch


class EmbedImages(Section):
    """How images are embedded; batch_size, precision and resize are part of the contract."""

    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=4096)] = Field(
        description=f"Images per batch; part of the contract, since it can change the last bits. auto is {AUTO_BATCH['cpu']} on a CPU and "
        f"{AUTO_BATCH['cuda']} on a GPU."
    )
    resize: Literal["pillow", "auto"] = Field(
        default="pillow",
        description="What decodes and resizes images; part of the contract. pillow: the CPU, as for published figures. auto: beside a GPU, "
        "nvJPEG and torch on the GPU where that was measured to keep this encoder's nearest neighbours.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        description="Precision of the computation; auto is bfloat16 where it is fast and measured to be accurate, else float32."
    )
    vectors: Literal["float32", "float16"] = Field(description="Type of the vectors in images.parquet.")


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the image embeddings of one cell."""
    from clipstore.encoders import fidelity
    from clipstore.encoders.encoder import Encoder
    from clipstore.encoders.precision import device, hardware

    settings = section(EmbedImages, "embed_images")
    images_index = index.read(dataset)
    rows = images_index.usable
    info = read_info(encoder)
    precision = fidelity.resolve(settings.precision, info, "images")
    batch_size = AUTO_BATCH[device()] if settings.batch_size == "auto" else settings.batch_size
    terms = contract.of_images(info, precision, batch_size, hardware(), images_index.exif)
    on_device = False
    if settings.resize == "auto":
        from clipstore.encoders import nvjpeg  # imports the encoders' libraries, which cached rows do not need

        on_device = nvjpeg.resolve("auto", info) == "nvjpeg"
        terms["preprocess"] |= nvjpeg.decoding() if on_device else {}
    paths, keys = rows["path"].tolist(), rows["sha256"].tolist()
    seconds = 0.0

    def batches(missing: list[int]) -> embeddings.Batches:
        nonlocal seconds
        from clipstore.encoders import feeding, nvjpeg

        model = Encoder(info, precision, batch_size)
        decoder = nvjpeg.Decoder(model, images_index.exif) if on_device else None
        sources = [(paths[position], keys[position]) for position in missing]
        start = time.perf_counter()
        with tqdm(total=len(missing), desc=f"embed {encoder}-{dataset}", unit="img", mininterval=1) as bar:
            for positions, batch in feeding.embedded(model, sources, images_index.exif, decoder):
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
