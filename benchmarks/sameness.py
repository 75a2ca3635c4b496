"""Check that the results of two runs are bit-identical: python -m benchmarks.sameness OLD NEW.

OLD and NEW are folders with the metrics/ and plots/ of a commit before and one after the renames in docs/renamed_keys.yaml. Both runs must
be from the same machine, with the same number of threads and an empty CLIP_FEATURE_STORE_CACHE. Timings are ignored. Prints every
difference and exits with 1 if there is one.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

RENAMED: dict[str, Any] = YAML(typ="safe").load(Path(__file__).parent.parent / "docs/renamed_keys.yaml")
TIMINGS = {"training_seconds", "megabytes_per_second"}  # metrics of the tokenizers until release 0.2


def flat(value: Any, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the leaves of a metrics file by their path of renamed keys, without timings."""
    if not isinstance(value, dict):
        return {prefix: value}
    names = {key: RENAMED["metrics"].get(key, key) for key in value if key not in TIMINGS}
    return {path: leaf for key, name in names.items() for path, leaf in flat(value[key], (*prefix, name)).items()}


def measures(root: Path) -> dict[str, dict[tuple[str, ...], Any]]:
    """Return the leaves of every metrics file below ``root``; accuracies in an audit's file are moved to the file of its data set."""
    files = {path.relative_to(root).with_suffix("").as_posix(): flat(json.loads(path.read_text())) for path in root.rglob("*.json")}
    for name in [name for name in files if name.startswith("audit/")]:
        dataset = name.rpartition("-")[2]
        for path in [path for path in files[name] if path[0] == "accuracy"]:
            leaf = files[name].pop(path)
            if path[-1] in RENAMED["moved"]:
                files[dataset][path[1:]] = leaf
    return files


def table(path: Path) -> list[list[str]]:
    """Return the cells of a plot's CSV, with renamed columns."""
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    return [[RENAMED["plots"].get(column, column) for column in head], *rows]


def differences(old: Path, new: Path) -> list[str]:
    """Return a line for each metric and each plot file that differs or is missing on one side."""
    lines = []
    before, after = measures(old / "metrics"), measures(new / "metrics")
    for name in sorted(before.keys() | after.keys()):
        left, right = before.get(name, {}), after.get(name, {})
        for path in sorted(left.keys() | right.keys()):
            a, b = left.get(path, "absent"), right.get(path, "absent")
            if a != b and not (a == "absent" and path[-1] in RENAMED["added"]):
                lines.append(f"metrics/{name}.json: {'.'.join(path)}: {a} before, {b} after")
    plots = {path.relative_to(root).as_posix() for root in (old, new) for path in (root / "plots").rglob("*.[ct]sv")}
    for name in sorted(plots):
        sides = [table(root / name) if (root / name).exists() else None for root in (old, new)]
        if sides[0] != sides[1]:
            lines.append(f"{name}: " + ("missing on one side" if None in sides else "differs"))
    return lines


if __name__ == "__main__":
    lines_of_differences = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(lines_of_differences) or "bit-identical")
    sys.exit(bool(lines_of_differences))
