"""Compare the sample's metrics in the work tree with the committed ones: python -m tests.committed.

Another processor or number of threads gives garden_clip other last bits, and so a few test images another answer; more than that is a
change of results that was not committed. Tokenizers are compared if they learnt from the committed text: python_docs is what this Python
carries, and 3.11.2 carries other prose than 3.11.7.
"""

import json
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.workspace import PROJECT

TOLERANCE = 0.03  # in accuracy; the 95 % half-width on the smaller test set (539 images) is 0.02 to 0.04
TIMINGS = (".training_seconds", ".megabytes_per_second")
OF_NETS = 0.1  # other last bits grow over the steps of a training on a few hundred images

# Probabilities move farther than answers do: with another C the probe's confidence is another altogether. And a difference to the best has
# the tolerances of both, whose accuracies are compared already.
NOT_COMPARED = (".selected.", ".nll", ".brier", ".ece", ".temperature", ".coverage", ".covered_top1", ".gap_to_best")


def differences(committed: object, found: object, where: str) -> list[str]:
    """Return a line for each key that one side lacks and each accuracy beyond the tolerance; NOT_COMPARED may differ."""
    if isinstance(committed, dict) and isinstance(found, dict):
        lonely = (committed.keys() ^ found.keys()) - {"covered_top1"}  # there only where some answer is confident
        lines = [f"{where}.{key}: on one side only" for key in sorted(lonely)]
        return lines + [
            line for key in committed.keys() & found.keys() for line in differences(committed[key], found[key], f"{where}.{key}")
        ]
    if where.endswith(TIMINGS):
        return []
    tolerance = OF_NETS if ".finetune." in where or ".scratch." in where else TOLERANCE
    if any(part in where for part in NOT_COMPARED):
        return []
    if isinstance(committed, float) and isinstance(found, float) and abs(committed - found) > tolerance:
        return [f"{where}: {committed} is committed, {found} was found"]
    return []


def at_head(path: str | Path) -> str:
    """Return a file as the last commit has it: on another machine `make repro` gives the work tree slightly other figures."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def texts(lock: str) -> dict[str, str]:
    """Return the digest of every corpus in a dvc.lock."""
    stages = YAML(typ="safe").load(lock)["stages"]
    return {name: stage["outs"][0]["md5"] for name, stage in stages.items() if name.startswith("corpus@")}


def main() -> None:
    """Exit with 1 and the differences, if there are any."""
    lines = []
    committed, found = texts(at_head("dvc.lock")), texts(Path("dvc.lock").read_text())
    others = {name.removeprefix("corpus@") for name, digest in found.items() if committed.get(name) != digest}
    for path in sorted(Path("metrics").rglob("*.json")):
        if path.stem.removeprefix("tokenizers-") in others:
            print(f"{path}: not compared, from another text than the committed one")
        else:
            lines += differences(json.loads(at_head(path)), json.loads(path.read_text()), path.stem)
    print("\n".join(lines) or "the committed metrics are current")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
