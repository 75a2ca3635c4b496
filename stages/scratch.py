"""Train this project's own network from scratch: `dvc repro -s scratch@NET-DATASET`.

Reads the index; the network is defined in clipstore/training/network.py. Writes data/predictions/DATASET/scratch-NET.parquet,
data/checkpoints/scratch/NET-DATASET (weights, net.json, printout) and the curves, plots/scratch/NET-DATASET.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.core.nets import Scratch
from clipstore.core.params import load, section
from clipstore.core.stage import run

if TYPE_CHECKING:
    from clipstore.training.classifier import Classifier

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)  # fractions of the full range: normalised pixels are in [-2, 2]


def main(net: str, dataset: str) -> dict[str, Any]:
    """Train the network of one cell and write its results."""
    from clipstore.training import classifier, network, processes, protocol, summary

    settings = section(Scratch, f"nets.{net}")
    if processes.launched(settings.processes, "stages.scratch", [net, dataset]):
        return {"processes": settings.processes}

    def build(classes: int) -> "Classifier":
        backbone = network.Backbone(settings.widths, settings.depths, settings.stride, settings.drop_path)
        whole = classifier.Classifier(backbone, settings.widths[-1], classes, MEAN, STD, settings.dropout)
        count = network.parameter_count(whole)
        if count > network.MAX_PARAMETERS:
            raise InputError(f"params.yaml: nets.{net}: the network has {count:,} parameters; expected at most {network.MAX_PARAMETERS:,}")
        return whole

    def printout(built: "Classifier") -> str:
        return summary.of_own(built, settings.image_size)

    origin = {"code": file_sha256(Path(network.__file__)), "mean": MEAN, "std": STD}
    return protocol.run_cell("scratch", net, dataset, settings, load()["seed"], build, printout, origin, facts=origin)


if __name__ == "__main__":
    run(main)
