"""Fine-tune a network that was trained on something else: `dvc repro -s finetune@NET-DATASET`.

Reads data/weights/NET and the index; the classifier is replaced by one for the data set's classes. Writes
data/predictions/DATASET/finetune-NET.parquet, data/checkpoints/finetune/NET-DATASET (weights, net.json, printout) and the curves,
plots/finetune/NET-DATASET.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from clipstore.core.params import load, section
from clipstore.core.schema import FineTune
from clipstore.core.stage import run

if TYPE_CHECKING:
    from clipstore.training.classifier import Classifier


def main(net: str, dataset: str) -> dict[str, Any]:
    """Train one cell and write it."""
    from clipstore.encoders import info, towers
    from clipstore.training import classifier, processes, protocol, summary

    settings = section(FineTune, f"nets.{net}")
    if processes.launched(settings.processes, "stages.finetune", [net, dataset]):
        return {"processes": settings.processes}
    card = info.read_info(net)

    def build(classes: int) -> "Classifier":
        tower, length = towers.load(card)
        return classifier.Classifier(tower, length, classes, card.preprocess["mean"], card.preprocess["std"], settings.dropout)

    def printout(network: "Classifier") -> str:
        return summary.of_finetuned(card, network, settings.image_size)

    return protocol.run_cell("finetune", net, dataset, settings, load()["seed"], build, printout, {"encoder": asdict(card)})


if __name__ == "__main__":
    run(main)
