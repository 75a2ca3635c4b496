"""Get an encoder's weights: `dvc repro -s weights@NAME`.

Reads the encoder's entry in params.yaml and its local or published file; garden_clip is trained here, on drawings. Writes
data/weights/NAME in a format that depends only on the library (see clipstore/encoders/info.py).
"""

import dataclasses
from typing import TYPE_CHECKING

from clipstore.core.encoders import Encoder, GardenClip
from clipstore.core.params import load, section
from clipstore.core.stage import run

if TYPE_CHECKING:
    from clipstore.encoders.info import EncoderInfo


def measure_bfloat16(name: str) -> "EncoderInfo":
    """Measure how close the encoder's bfloat16 embeddings are to float32, add the result to its encoder.json and return that."""
    from clipstore.encoders.encoder import bfloat16_cosine
    from clipstore.encoders.info import read_info, write_info

    info = read_info(name)
    info = dataclasses.replace(info, bfloat16_cosine=round(bfloat16_cosine(info), 5))
    write_info(info)
    return info


def main(name: str) -> None:
    """Write data/weights/NAME."""
    from clipstore.encoders import garden_clip
    from clipstore.encoders.libraries import MODULES

    entry: Encoder = section(Encoder, f"encoders.{name}")
    if isinstance(entry, GardenClip):
        garden_clip.save(name, entry, load()["seed"])
    else:
        MODULES[entry.source].save(name, entry)
    info = measure_bfloat16(name)
    print(f"weights {name}: {info.origin}; lowest cosine of bfloat16 and float32 embeddings: {info.bfloat16_cosine}")


if __name__ == "__main__":
    run(main)
