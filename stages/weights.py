"""Get an encoder's weights: `dvc repro -s weights@NAME`.

Reads the encoder's entry in params.yaml and the file that it names, a local or a published one; garden_clip is trained here, on drawings.
Writes data/weights/NAME, whose form depends on the library alone (see clipstore/encoders/info.py).
"""

import dataclasses
from typing import TYPE_CHECKING

from clipstore.core.encoders import Encoder, GardenClip
from clipstore.core.params import load, section
from clipstore.core.stage import run

if TYPE_CHECKING:
    from clipstore.encoders.info import EncoderInfo


def measure_bfloat16(name: str) -> "EncoderInfo":
    """Measure how close bfloat16 embeddings of the encoder ``name`` are to float32, add that to its encoder.json and return it."""
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
    print(f"weights {name}: {info.origin}; bfloat16 agrees with float32 to a cosine of {info.bfloat16_cosine}")


if __name__ == "__main__":
    run(main)
