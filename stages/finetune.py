"""Fine-tune a pretrained network: `dvc repro -s finetune@NET-DATASET`.

Reads data/weights/NET and the index, and replaces the classifier with one for the data set's classes. Writes
data/predictions/DATASET/finetune-NET.parquet, data/checkpoints/finetune/NET-DATASET (weights, net.json, printout) and the curves,
plots/finetune/NET-DATASET.
"""

from dataclasses import asdict
from typing import Any

from clipstore.core.nets import FineTune
from clipstore.core.params import load, section
from clipstore.core.stage import run


def main(net: str, dataset: str) -> dict[str, Any]:
    """Train the network of one cell and write its results."""
    from clipstore.encoders import contract, torchvision
    from clipstore.encoders.info import read_info
    from clipstore.encoders.libraries import MODULES
    from clipstore.training import processes, protocol, summary
    from clipstore.training.classifier import Classifier

    settings = section(FineTune, f"nets.{net}")
    if processes.launched(settings.processes, "stages.finetune", [net, dataset]):
        return {"processes": settings.processes}
    info = read_info(net)

    def build(classes: int) -> Classifier:
        backbone, width = MODULES[info.library].backbone(info)
        return Classifier(backbone, width, classes, info.preprocess["mean"], info.preprocess["std"], settings.dropout)

    def printout(network: Classifier) -> str:
        whole = info.library == "torchvision"  # torchvision's architectures include the classifier, which is replaced
        before = torchvision.classifier(info.architecture) if whole else MODULES[info.library].backbone(info)[0]
        return summary.of_finetuned(info, before, network, settings.image_size)

    origin, facts = contract.of_backbone(info), {"encoder": asdict(info)}
    return protocol.run_cell("finetune", net, dataset, settings, load()["seed"], build, printout, origin, facts)


if __name__ == "__main__":
    run(main)
