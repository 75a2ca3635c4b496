"""Files from the hub: put into the cache by hand, cached by any program, or downloaded; an unreachable hub fails quickly."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from clipstore.core.errors import InputError
from clipstore.data import fetching, hub
from tests.mirror import Mirror, serving, use_as_hub

NAMES = ("model.safetensors", "pytorch_model.bin")


@pytest.fixture
def mirror(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        yield mirror


def test_a_file_is_fetched_once(mirror: Mirror) -> None:
    mirror.put("org/net/resolve/main/model.safetensors", b"weights")
    for _ in range(2):
        assert hub.file("org/net", NAMES).read_bytes() == b"weights"
    assert len(mirror.asked("org/net/resolve/main/model.safetensors")) == 1


def test_the_next_name_is_tried_if_the_first_is_missing(mirror: Mirror) -> None:
    mirror.put("org/net/resolve/main/pytorch_model.bin", b"older")
    assert hub.file("org/net", NAMES).read_bytes() == b"older"


def test_a_file_put_by_hand_is_used_without_any_request(mirror: Mirror) -> None:
    hub.folder("org/net").mkdir(parents=True)
    (hub.folder("org/net") / "model.safetensors").write_bytes(b"by hand")
    assert hub.file("org/net", NAMES).read_bytes() == b"by hand"
    assert not mirror.requests


def test_two_hub_errors_are_retried(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    mirror.put("org/net/resolve/main/model.safetensors", b"weights")
    mirror.failures["org/net/resolve/main/model.safetensors"] = ["503", "503"]
    assert hub.file("org/net", NAMES).read_bytes() == b"weights"
    assert capsys.readouterr().out.count("org/net: model.safetensors: ") == 2


def test_a_broken_connection_is_retried(mirror: Mirror) -> None:
    data = bytes(range(256)) * 4000
    path = "org/net/resolve/main/model.safetensors"
    mirror.put(path, data)
    mirror.failures[path] = ["cut"]
    assert hub.file("org/net", NAMES).read_bytes() == data
    assert len(mirror.asked(path)) == 2


REVISION = "0123456789abcdef" * 2 + "01234567"


def test_a_file_of_a_data_set_is_fetched_once_at_its_revision(mirror: Mirror) -> None:
    mirror.put("org/set/resolve/main/a.parquet", b"of a model")
    mirror.put("datasets/org/set/resolve/main/a.parquet", b"latest")
    path = f"datasets/org/set/resolve/{REVISION}/a.parquet"
    mirror.put(path, b"pinned")
    assert hub.file("org/set", ["a.parquet"], "dataset").read_bytes() == b"latest"
    for _ in range(2):
        assert hub.file("org/set", ["a.parquet"], "dataset", REVISION).read_bytes() == b"pinned"
    assert len(mirror.asked(path)) == 1


def test_a_file_of_a_data_set_may_be_put_by_hand(mirror: Mirror) -> None:
    (hub.folder("org/set") / "v1").mkdir(parents=True)
    (hub.folder("org/set") / "v1/a.parquet").write_bytes(b"by hand")
    assert hub.file("org/set", ["v1/a.parquet"], "dataset", REVISION).read_bytes() == b"by hand"
    assert not mirror.requests


def test_a_data_set_without_the_file_is_reported(mirror: Mirror) -> None:
    with pytest.raises(InputError, match=r"^org/set on http://127\.0\.0\.1:\d+ has no file a\.parquet$"):
        hub.file("org/set", ["a.parquet"], "dataset", REVISION)


def test_a_repository_without_the_file_is_reported(mirror: Mirror) -> None:
    with pytest.raises(InputError, match=r"org/net on http://127\.0\.0\.1:\d+ has no file model\.safetensors or pytorch_model\.bin"):
        hub.file("org/net", NAMES)


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_the_error_names_the_file_and_its_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
    if offline:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "patiently", lambda *_: pytest.fail("the library would keep trying for most of a minute"))
    with pytest.raises(InputError) as error:
        hub.file("org/net", NAMES)
    reason = "HF_HUB_OFFLINE is set" if offline else "Connection refused"
    assert str(error.value).startswith(f"org/net: model.safetensors is not cached, and {mirror.address} cannot be reached ")
    assert reason in str(error.value)
    assert str(error.value).endswith(f"put the file into {tmp_path}/cache/hub/org/net")
    with pytest.raises(InputError, match=r"org/net: tokenizer\.json is not cached, and .* cannot be reached"):
        hub.tokenizer("org/net")
