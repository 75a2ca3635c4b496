"""Tiny encoders give the committed vectors, or `VERSION` of the contract is raised: otherwise caches would serve old vectors."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipstore.encoders import contract
from tests.encoders import reference

COMMAND = "python -m tests.encoders.reference"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[reference.Found]:
    """The vectors that the code computes now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reference"))
        yield reference.computed()


@pytest.mark.slow
def test_the_code_computes_the_committed_vectors_or_the_version_is_raised(found: reference.Found) -> None:
    differing = reference.differences(found)
    assert not differing, f"{differing}: raise VERSION in clipstore/encoders/contract.py and run {COMMAND}"
    assert list(found) == list(reference.committed()), f"run {COMMAND}"


def test_the_committed_vectors_are_of_this_version() -> None:
    assert json.loads(reference.PATH.read_text())["version"] == contract.VERSION, f"run {COMMAND}"


@pytest.mark.slow
def test_differences_as_small_as_one_image_in_another_form_are_found(found: reference.Found) -> None:
    changed = {name: dict(kinds) for name, kinds in found.items()}
    image = changed["garden_clip"]["features"] = found["garden_clip"]["features"].copy()
    image[7] = image[10]  # the same file, turned by its EXIF orientation
    assert [line.split(":")[0] for line in reference.differences(changed)] == ["garden_clip, features"]


@pytest.mark.slow
def test_the_file_is_not_written_again_before_the_version_is_raised(
    found: reference.Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reference.json"
    path.write_text(reference.PATH.read_text())
    monkeypatch.setattr(reference, "PATH", path)
    changed = found | {"timm": {kind: 1.1 * values for kind, values in found["timm"].items()}}
    monkeypatch.setattr(reference, "computed", lambda: changed)
    with pytest.raises(SystemExit, match=r"timm, embedding: differ by .*\nraise VERSION in clipstore/encoders/contract.py first"):
        reference.main()
    monkeypatch.setattr(contract, "VERSION", contract.VERSION + 1)
    reference.main()
    assert reference.differences(changed) == []
    assert json.loads(path.read_text())["version"] == contract.VERSION
