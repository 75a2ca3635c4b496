"""Digests of files and JSON documents."""

from pathlib import Path

import pytest

from clipstore.core.digests import file_sha256, json_sha256

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # the example of FIPS 180-4
EMPTY_OBJECT = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of the two bytes {}


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == ABC


def test_digest_of_a_document_is_that_of_its_canonical_json() -> None:
    assert json_sha256({}) == EMPTY_OBJECT


def test_canonical_json_is_utf8_with_sorted_keys(tmp_path: Path) -> None:
    (tmp_path / "canonical").write_bytes('{"a":[1,2.5,null],"b":{"c":true,"ü":"é"}}'.encode())
    assert json_sha256({"b": {"ü": "é", "c": True}, "a": (1, 2.5, None)}) == file_sha256(tmp_path / "canonical")


def test_order_of_items_matters_but_order_of_keys_does_not() -> None:
    assert json_sha256({"a": 1, "b": 2}) == json_sha256({"b": 2, "a": 1})
    assert json_sha256([1, 2]) != json_sha256([2, 1])


def test_nan_is_rejected() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_sha256({"a": float("nan")})
