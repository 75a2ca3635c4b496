"""Get an encoder's weights: `dvc repro -s weights@NAME`.

Reads the encoder's entry in params.yaml and its local or published file; garden_clip is trained here, on drawings. Writes
data/weights/NAME in a format that depends only on the library (see clipstore/encoders/info.py).
"""

from clipstore.core.encoders import Encoder, GardenClip
from clipstore.core.params import load, section
from clipstore.core.stage import run


def main(name: str) -> None:
    """Write data/weights/NAME."""
    from clipstore.encoders import garden_clip
    from clipstore.encoders.info import read_info
    from clipstore.encoders.libraries import MODULES

    entry: Encoder = section(Encoder, f"encoders.{name}")
    if isinstance(entry, GardenClip):
        garden_clip.save(name, entry, load()["seed"])
    else:
        MODULES[entry.source].save(name, entry)
    print(f"weights {name}: {read_info(name).origin}")


if __name__ == "__main__":
    run(main)
