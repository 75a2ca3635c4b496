"""Fine-tune a network that was trained on something else: python -m stages.finetune NET DATASET.

Reads data/weights/NET and the index; the classifier is replaced by one for the data set's classes. Writes
data/predictions/DATASET/finetune-NET.parquet, data/checkpoints/finetune/NET-DATASET (weights, printout, settings) and the curves,
plots/finetune/NET-DATASET.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clipstore.core.digests import json_sha256
from clipstore.core.nets import FineTune
from clipstore.core.params import load, section
from clipstore.core.stage import run

if TYPE_CHECKING:
    from clipstore.training.loop import Classifier


def main(net: str, dataset: str) -> dict[str, Any]:
    """Train one cell and write it."""
    from clipstore.encoders import info
    from clipstore.encoders.libraries import MODULES
    from clipstore.training import loop, protocol, summary

    settings = section(FineTune, f"nets.{net}")
    if protocol.launched(settings.processes, "stages.finetune", [net, dataset]):
        return {"processes": settings.processes}
    card = info.read_info(net)

    def build(classes: int) -> "Classifier":
        tower, length = MODULES[card.library].backbone(card)
        return loop.Classifier(tower, length, classes, card.preprocess["mean"], card.preprocess["std"], settings.dropout)

    def described(network: "Classifier") -> str:
        return summary.of_finetuned(card, network, settings.image_size)

    return protocol.run_cell("finetune", net, dataset, settings, load()["seed"], build, described, json_sha256(asdict(card)))


if __name__ == "__main__":
    run(main)
