"""Compare the sample's metrics in the working tree with the committed ones: python -m tests.committed.

Another processor or number of threads changes the last bits of garden_clip's weights and so the predictions for a few test images. Larger
differences mean that a change of results was not committed. Tokenizers are compared only if they were trained on the committed text:
python_docs comes from the running Python, and its prose differs between, for example, 3.11.2 and 3.11.7.
"""

import json
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.workspace import PROJECT

TOLERANCE = 0.03  # in accuracy; the 95 % half-width on the smaller test set (539 images) is 0.02 to 0.04
TOLERANCE_OF_NETS = 0.1  # differences in the last bits grow over the steps of training on a few hundred images

# Probabilities vary more than predictions: another selected C changes the probe's confidence considerably. A gap to the best has the
# tolerances of two accuracies, which are compared anyway.
NOT_COMPARED = (".selected.", ".nll", ".brier", ".ece", ".temperature", ".coverage", ".covered_top1", ".gap_to_best")


def differences(committed: object, current: object, where: str) -> list[str]:
    """Return one line per key that one side lacks and per accuracy outside its tolerance; NOT_COMPARED is ignored."""
    if isinstance(committed, dict) and isinstance(current, dict):
        unmatched = (committed.keys() ^ current.keys()) - {"covered_top1"}  # present only if some answer is confident
        lines = [f"{where}.{key}: on one side only" for key in sorted(unmatched)]
        return lines + [
            line for key in committed.keys() & current.keys() for line in differences(committed[key], current[key], f"{where}.{key}")
        ]
    tolerance = TOLERANCE_OF_NETS if ".finetune." in where or ".scratch." in where else TOLERANCE
    if any(part in where for part in NOT_COMPARED):
        return []
    if isinstance(committed, float) and isinstance(current, float) and abs(committed - current) > tolerance:
        return [f"{where}: {current}, expected the committed {committed} within {tolerance}"]
    return []


def at_head(path: str | Path) -> str:
    """Return the file's content in the last commit; on another machine, `make repro` changes the file in the working tree slightly."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout


def texts(lock: str) -> dict[str, str]:
    """Return the digest of each corpus in the text of a dvc.lock."""
    stages = YAML(typ="safe").load(lock)["stages"]
    return {name: stage["outs"][0]["md5"] for name, stage in stages.items() if name.startswith("corpus@")}


def main() -> None:
    """Print the differences and exit with status 1 if there are any."""
    lines = []
    committed, current = texts(at_head("dvc.lock")), texts(Path("dvc.lock").read_text())
    changed = {name.removeprefix("corpus@") for name, digest in current.items() if committed.get(name) != digest}
    for path in sorted(Path("metrics").rglob("*.json")):
        if path.stem.removeprefix("tokenizers-") in changed:
            print(f"{path}: not compared, trained on another text than the committed metrics")
        else:
            lines += differences(json.loads(at_head(path)), json.loads(path.read_text()), path.stem)
    print("\n".join(lines) or "the committed metrics are up to date")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
