"""Train a network of our own from scratch: python -m stages.scratch NET DATASET.

Reads the index; the network is that of clipstore/training/network.py. Writes data/predictions/DATASET/scratch-NET.parquet,
data/checkpoints/scratch/NET-DATASET (weights, printout, settings) and the curves, plots/scratch/NET-DATASET.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.core.nets import Scratch
from clipstore.core.params import load, section
from clipstore.core.stage import run

if TYPE_CHECKING:
    from clipstore.training.loop import Classifier

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # fractions of the full range: pixels come to -2 .. 2


def main(net: str, dataset: str) -> dict[str, Any]:
    """Train one cell and write it."""
    from clipstore.training import loop, protocol, summary
    from clipstore.training import network as nets

    settings = section(Scratch, f"nets.{net}")
    if protocol.launched(settings.processes, "stages.scratch", [net, dataset]):
        return {"processes": settings.processes}

    def build(classes: int) -> "Classifier":
        body = nets.Body(settings.widths, settings.depths, settings.stride, settings.drop_path)
        own = loop.Classifier(body, settings.widths[-1], classes, MEAN, STD, settings.dropout)
        count = nets.parameters(own)
        if count > nets.LIMIT:
            raise InputError(f"params.yaml: nets.{net}: a network of {count:,} parameters; expected at most {nets.LIMIT:,}")
        return own

    def described(network: "Classifier") -> str:
        return summary.of_own(network, settings.image_size)

    return protocol.run_cell("scratch", net, dataset, settings, load()["seed"], build, described, file_sha256(Path(nets.__file__)))


if __name__ == "__main__":
    run(main)
