"""Compare measured figures with published ones: python -m clipstore.tools.verify.

Reads the tables of docs/expected.md and metrics/DATASET.json for the data sets in them. Prints a line for each figure that is both
published and measured, and one for each encoder and data set that data/embeddings says were not embedded in float32, which the figures
assume. Exits with 1 if a checked figure or the number of test images disagrees.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from clipstore.core.errors import InputError
from clipstore.core.params import Section
from clipstore.store import embeddings
from clipstore.store.approaches import APPROACHES

EXPECTED = Path("docs/expected.md")
ASSUMED = "float32"  # precision that the tables assume
CONTRACTS = {"images": "contract.json", "texts": "texts_contract.json"}
REASONS = """Usual causes of a difference (see docs/traps.md for more):
- images or texts embedded in bfloat16: -S embed_images.precision=float32 -S embed_texts.precision=float32;
- different prompts, a different list of class names, or the same names in a different order;
- the wrong activation or preprocessing for the weights."""
Percent = Annotated[float, Field(ge=0, le=100)]
Row = TypeVar("Row", bound=Section)


def _stage(name: str) -> str:
    stages = [approach.stage for approach in APPROACHES]
    if name not in stages:
        raise ValueError(f"expected one of {', '.join(stages)}")
    return name


Stage = Annotated[str, AfterValidator(_stage)]


class Official(Section):
    """The official test split of a data set."""

    dataset: str = Field(alias="data set")
    images: int = Field(alias="test images", ge=1)


class Figure(Section):
    """A published figure; without a tolerance (in percentage points) it is shown but not checked."""

    encoder: str
    dataset: str = Field(alias="data set")
    approach: Stage
    measure: Literal["mean_per_class", "top1", "train_only.mean_per_class"]
    published: Percent
    tolerance: Annotated[Percent | None, BeforeValidator(lambda cell: None if cell == "–" else cell)]
    source: str


class Verdict(NamedTuple):
    """The line to print about a comparison, and whether it agrees; None if it is not checked."""

    text: str
    agrees: bool | None


def table(text: str, kind: type[Row]) -> list[Row]:
    """Return the rows of the Markdown table in ``text`` that has the fields of ``kind`` as columns.

    Raises:
        InputError: there is no such table, or a row is malformed; the message names the line and the value.
    """
    columns = [field.alias or name for name, field in kind.model_fields.items()]
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()] + [[""]]
    if columns not in lines:
        raise InputError(f"{EXPECTED}: no table with the columns {', '.join(columns)}")
    first = lines.index(columns) + 2  # below the header and the rule
    rows = []
    for number, cells in enumerate(lines[first : lines.index([""], first)], first + 1):
        if len(cells) != len(columns):
            raise InputError(f"{EXPECTED}, line {number}: {len(cells)} cells, expected {len(columns)}: {', '.join(columns)}")
        try:
            rows.append(kind.model_validate(dict(zip(columns, cells, strict=True))))
        except ValidationError as error:
            wrong = error.errors()[0]
            raise InputError(f"{EXPECTED}, line {number}: {wrong['loc'][0]} = {wrong['input']!r}: {wrong['msg']}") from None
    return rows


def miscounts(official: Official, measured: dict[str, Any]) -> list[Verdict]:
    """Return a verdict for each entry of {stage: {name: measures}} that was measured on other images than the official test split.

    ``failed`` counts the unreadable images of all splits: at most this many may be missing from test.
    """
    cells = [
        (f"{stage} {name}", measures["n"], measures["failed"])
        for stage, names in measured.items()
        for name, measures in names.items()
        if "not_yet" not in measures
    ]
    return [
        Verdict(f"{official.dataset}, {cell}: {n} test images and {failed} failed, expected {official.images}", False)
        for cell, n, failed in cells
        if not official.images - failed <= n <= official.images
    ]


def compare(figure: Figure, measured: dict[str, Any]) -> Verdict | None:
    """Return the verdict on a figure, given its data set's {stage: {name: measures}}; None if it was not measured."""
    value: Any = measured.get(figure.approach, {}).get(figure.encoder)
    for key in figure.measure.split("."):
        value = value and value.get(key)
    if value is None:
        return None
    difference = round(100 * value - figure.published, 4)
    measure = figure.measure.replace("_", " ").replace(".", ", ")
    text = f"{figure.dataset}, {figure.approach} {figure.encoder}: {measure} {100 * value:.2f}"
    text += f", published {figure.published:g} ({figure.source})"
    if figure.tolerance is None:
        return Verdict(f"{text}: {difference:+.2f}, not checked", None)
    if abs(difference) <= figure.tolerance:
        return Verdict(f"{text}: agrees within {figure.tolerance:g}", True)
    return Verdict(f"{text}: differs by {difference:+.2f}, more than {figure.tolerance:g}", False)


def other_precisions(cells: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each (encoder, data set) of which images or texts were embedded in another precision than ASSUMED."""
    lines = []
    for encoder, dataset in cells:
        paths = {kind: embeddings.folder(encoder, dataset) / name for kind, name in CONTRACTS.items()}
        found = {kind: json.loads(path.read_text())["precision"] for kind, path in paths.items() if path.exists()}
        others = [f"{kind} in {precision}" for kind, precision in found.items() if precision != ASSUMED]
        if others:
            lines.append(f"{dataset}, {encoder}: this run embedded {' and '.join(others)}; {EXPECTED} assumes {ASSUMED}")
    return lines


def main() -> None:
    """Print the verdicts and the number of figures that agree; exit with 1 if something differs.

    Raises:
        InputError: a table is malformed, or none of its figures was measured.
    """
    text = EXPECTED.read_text(encoding="utf-8")
    officials, figures = table(text, Official), table(text, Figure)
    paths = {official.dataset: Path("metrics") / f"{official.dataset}.json" for official in officials}
    metrics = {dataset: json.loads(path.read_text()) for dataset, path in paths.items() if path.exists()}
    compared = [verdict for figure in figures if (verdict := compare(figure, metrics.get(figure.dataset, {})))]
    if not compared:
        faults = [f"{path}: " + (f"no figure of {EXPECTED}" if name in metrics else "no such file") for name, path in paths.items()]
        raise InputError(f"{'; '.join(faults)}; run `make full`")
    counted = [verdict for official in officials for verdict in miscounts(official, metrics.get(official.dataset, {}))]
    checked = [verdict.agrees for verdict in compared if verdict.agrees is not None]
    wrong = bool(counted) or not all(checked)
    precisions = other_precisions(dict.fromkeys((figure.encoder, figure.dataset) for figure in figures))
    print("\n".join([verdict.text for verdict in counted + compared] + precisions + [REASONS] * wrong))
    print(f"{sum(checked)} of {len(checked)} checked figures agree; published but not measured: {len(figures) - len(compared)}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
