"""Measured figures are compared with published ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.errors import InputError
from clipstore.tools import verify
from tests.workspace import PROJECT

TEXT = """
| data set | test images |
|:---|---:|
| flowers102 | 6149 |
| pets | 3669 |

| encoder | data set | approach | measure | published | tolerance | source |
|:---|:---|:---|:---|---:|---:|:---|
| small | flowers102 | zero_shot | mean_per_class | 66.45 | 0.5 | A paper |
| small | flowers102 | linear_probe | train_only.mean_per_class | 94 | 3 | A paper |
| small | flowers102 | linear_probe | top1 | 96.9 | – | memory |
| large | pets | zero_shot | top1 | 93.08 | 0.5 | A paper |
"""
COUNT = {"n": 6149, "failed": 0}


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str = TEXT, **metrics: dict[str, Any]) -> None:
    """Write these tables and metrics in ``folder`` and make it the working folder."""
    monkeypatch.chdir(folder)
    for name in ("docs", "metrics"):
        Path(name).mkdir()
    verify.EXPECTED.write_text(text, encoding="utf-8")
    for dataset, measures in metrics.items():
        Path("metrics", f"{dataset}.json").write_text(json.dumps(measures))


def run(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return exit status and printed lines."""
    with pytest.raises(SystemExit) as raised:
        verify.main()
    assert not isinstance(raised.value, InputError), raised.value
    return int(raised.value.code or 0), capsys.readouterr().out.splitlines()


def zero_shot(share: float, **count: int) -> dict[str, Any]:
    """Return the zero-shot metrics of one encoder."""
    return {"zero_shot": {"small": {"mean_per_class": share, "top1": 0.1, **COUNT, **count}}}


def test_figures_that_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    probe = {"linear_probe": {"small": {"mean_per_class": 0.5, "top1": 0.951, "train_only": {"mean_per_class": 0.965}, **COUNT}}}
    prepare(tmp_path, monkeypatch, flowers102=zero_shot(0.66432) | probe)
    assert run(capsys) == (
        0,
        [
            "flowers102, zero_shot small: mean per class 66.43, published 66.45 (A paper): agrees within 0.5",
            "flowers102, linear_probe small: train only, mean per class 96.50, published 94 (A paper): agrees within 3",
            "flowers102, linear_probe small: top1 95.10, published 96.9 (memory): -1.80, not checked",
            "2 of 2 checked figures agree; published but not measured: 1",
        ],
    )


def test_figure_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, monkeypatch, flowers102=zero_shot(0.6335))
    status, lines = run(capsys)
    assert status == 1
    assert lines[0].endswith("mean per class 63.35, published 66.45 (A paper): differs by -3.10, more than 0.5")
    assert any("docs/traps.md" in line for line in lines)
    assert lines[-1] == "0 of 1 checked figures agree; published but not measured: 3"


@pytest.mark.parametrize(("share", "status"), [(0.6595, 0), (0.6695, 0), (0.659499, 1), (0.669501, 1)])
def test_a_difference_equal_to_the_tolerance_agrees(
    share: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch, flowers102=zero_shot(share))
    assert run(capsys)[0] == status


@pytest.mark.parametrize(("n", "failed", "status"), [(6147, 2, 0), (6149, 2, 0), (6146, 2, 1), (6150, 0, 1), (1020, 0, 1)])
def test_number_of_test_images_must_be_the_official_one_minus_failed_ones(
    n: int, failed: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch, flowers102=zero_shot(0.6645, n=n, failed=failed))
    exit_status, lines = run(capsys)
    assert exit_status == status
    verdict = f"flowers102, zero_shot small: {n} test images and {failed} failed, expected 6149"
    assert (verdict in lines) == (status == 1)
    assert "1 of 1 checked figures agree; published but not measured: 3" in lines


def test_an_approach_without_a_figure_yet_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch, flowers102=zero_shot(0.6645) | {"linear_probe": {"small": {"not_yet": "no labels"}}})
    status, lines = run(capsys)
    assert (status, lines[-1]) == (0, "1 of 1 checked figures agree; published but not measured: 3")


def test_a_figure_that_is_not_checked_does_not_affect_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch, flowers102={"linear_probe": {"small": {"top1": 0.2, **COUNT}}})
    assert run(capsys) == (
        0,
        [
            "flowers102, linear_probe small: top1 20.00, published 96.9 (memory): -76.90, not checked",
            "0 of 0 checked figures agree; published but not measured: 3",
        ],
    )


def test_a_run_in_another_precision_than_the_tables_assume_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch, flowers102=zero_shot(0.6645), pets={"zero_shot": {"large": {"top1": 0.9308, "n": 3669, "failed": 0}}})
    precisions = {"small-flowers102": ("bfloat16", "float32"), "large-pets": ("float32", "float32"), "other-pets": ("bfloat16", "bfloat16")}
    for cell, (images, texts) in precisions.items():
        folder = Path("data/embeddings") / cell
        folder.mkdir(parents=True)
        (folder / "contract.json").write_text(json.dumps({"precision": images}))
        (folder / "texts_contract.json").write_text(json.dumps({"precision": texts}))
    status, lines = run(capsys)
    assert status == 0
    assert [line for line in lines if "this run" in line] == [
        "flowers102, small: this run embedded images in bfloat16; docs/expected.md assumes float32"
    ]


def test_no_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch)
    message = r"^metrics/flowers102.json: no such file; metrics/pets.json: no such file; run `make full`$"
    with pytest.raises(InputError, match=message):
        verify.main()


def test_metrics_of_other_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, monkeypatch, pets={"zero_shot": {"small": {"top1": 0.9, "n": 3669, "failed": 0}}})
    with pytest.raises(InputError, match=r"metrics/pets.json: no figure of docs/expected.md; run `make full`$"):
        verify.main()


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("| 66.45 |", "| about 66 |", "line 9: published = 'about 66': "),
        ("| 66.45 |", "| nan |", "line 9: published = 'nan': "),
        ("| 93.08 | 0.5 |", "| 93.08 | half |", "line 12: tolerance = 'half': "),
        ("zero_shot | top1", "zero_shot | top-1", "line 12: measure = 'top-1': "),
        ("pets | zero_shot", "pets | zero-shot", "line 12: approach = 'zero-shot': "),
        ("| 6149 |", "| many |", "line 4: test images = 'many': "),
        ("| memory |", "|", "line 11: 6 cells, expected 7: encoder, data set, "),
        ("| measure |", "| metric |", "no table with the columns encoder, data set, approach, measure, "),
    ],
)
def test_malformed_table(right: str, wrong: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TEXT.count(right) == 1
    prepare(tmp_path, monkeypatch, TEXT.replace(right, wrong), flowers102=zero_shot(0.66))
    with pytest.raises(InputError) as raised:
        verify.main()
    assert f"docs/expected.md{':' if message.startswith('no') else ','} {message}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_committed_tables_name_entries_of_params() -> None:
    params = YAML(typ="safe").load(PROJECT / "params.yaml")
    text = (PROJECT / verify.EXPECTED).read_text(encoding="utf-8")
    splits = {row.dataset: row.images for row in verify.table(text, verify.Official)}
    figures = verify.table(text, verify.Figure)
    assert splits == {"flowers102": 6149, "pets": 3669}
    assert splits.keys() <= params["datasets"].keys()
    assert {figure.dataset for figure in figures} == splits.keys()
    assert {figure.encoder for figure in figures} <= params["encoders"].keys()
    assert len({(figure.dataset, figure.approach, figure.encoder, figure.measure, figure.source) for figure in figures}) == len(figures)


def test_unconfirmed_figures_are_not_checked() -> None:
    figures = verify.table((PROJECT / verify.EXPECTED).read_text(encoding="utf-8"), verify.Figure)
    assert {figure.source for figure in figures if figure.tolerance is None} == {"CLIP paper, unconfirmed"}
