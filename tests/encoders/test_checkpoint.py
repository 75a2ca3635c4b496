"""Checkpoints of training runs: the encoder's tensors are found below wrappers and prefixes, and every other case is one line."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.encoders import checkpoint
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.vision import open_clip, timm
from tests.project import TINY, random_crops, save_weights

PREPROCESS = {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "crop_pct": 0.9}
State = dict[str, torch.Tensor]


def state_of(architecture: str, seed: int = 0, **arguments: Any) -> State:
    """Return random weights of a classifier of timm."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return dict(timm.create_model(architecture, **arguments).state_dict())


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def entry(path: Path, contents: object, architecture: str = "resnet10t", **fields: Any) -> dict[str, Any]:
    """Write a checkpoint; return its entry."""
    torch.save(contents, path)
    named = {"architecture": architecture, "file": str(path), "sha256": file_sha256(path), "preprocess": PREPROCESS}
    return {"source": "timm_file"} | named | fields


WRAPPED: dict[str, Any] = {
    "a classifier": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
    "network": lambda state: {"network": state},
    "ema": lambda state: {"ema": {"module": state, "decay": 0.9}},
    "module": lambda state: prefixed(state, "module."),
    "compiled": lambda state: {"state_dict": prefixed(state, "_orig_mod.")},
    "backbone": lambda state: prefixed(state, "backbone."),
    "encoder": lambda state: {"model": prefixed(state, "module.encoder.") | {"module.projector.weight": torch.zeros(2, 2)}},
    "no counts of batches": lambda state: {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")},
    "twice the same": lambda state: {"model": state, "ema": {name: tensor.clone() for name, tensor in state.items()}},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_the_encoder_is_found_and_gives_timms_own_vectors(project: Path, capsys: pytest.CaptureFixture[str], wrapping: str) -> None:
    state = state_of("resnet10t")
    info = save_weights(entry(project / "r.pt", WRAPPED[wrapping](state)))
    line = capsys.readouterr().out
    prefix = next(iter(WRAPPED[wrapping](state))) if wrapping in ("module", "backbone") else ""
    rest = 3 if wrapping == "encoder" else 2
    assert f"left out {rest} tensors: {prefix.partition('.')[0]}" in line
    assert "fc.weight" in line
    assert line.count("\n") == 1
    expected = timm.create_model("resnet10t", num_classes=0).eval()
    expected.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("fc.")})
    crops, encoder = random_crops(2, 64), Encoder(info, "float32", 2)
    with torch.inference_mode():
        theirs = expected(encoder.crops.normalized(crops))
        np.testing.assert_allclose(encoder.encode_images(crops)["embedding"], theirs, rtol=1e-4, atol=1e-5)


def test_a_classifier_within_the_head_is_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(entry(project / "c.pt", state_of("convnext_atto"), "convnext_atto"))
    assert "left out 2 tensors: head.fc.weight, head.fc.bias\n" in capsys.readouterr().out


def test_an_encoder_alone_is_loaded_without_a_word(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(entry(project / "r.pt", state_of("resnet10t", num_classes=0)))
    assert capsys.readouterr().out == ""


def one_line(path: Path, contents: object, architecture: str = "resnet10t", **fields: Any) -> str:
    with pytest.raises(InputError) as error:
        save_weights(entry(path, contents, architecture, **fields))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_and_mismatching_tensors_are_named_and_counted(project: Path) -> None:
    state = state_of("resnet10t")
    for name in [name for name in state if name.startswith("layer4.0.conv2") or name == "bn1.bias"]:
        del state[name]
    state["conv1.0.weight"] = torch.zeros(1, 2)
    message = one_line(project / "r.pt", {"model": prefixed(state, "module.")})
    assert message == (
        f"{project / 'r.pt'}: expected weights of resnet10t: 2 tensors missing: bn1.bias, layer4.0.conv2.weight; "
        "1 tensor of another shape: conv1.0.weight (1, 2) instead of (24, 3, 3, 3) (model module.*)"
    )


def test_weights_of_another_architecture_name_what_they_are(project: Path) -> None:
    message = one_line(project / "r.pt", {"conv.weight": torch.zeros(1)})
    assert message.endswith("none of the 70 tensors is among the 1 tensor of the file: conv.weight")


def test_a_file_without_tensors_is_one_line(project: Path) -> None:
    assert one_line(project / "r.pt", {"epoch": 3}).endswith("expected weights of resnet10t: it has no named tensors")
    assert one_line(project / "r.pt", [1, 2]).endswith("expected weights of resnet10t: it has no named tensors")


@pytest.mark.parametrize(
    ("extra", "name"),
    [("blocks.0.ls1.gamma", "blocks.0.ls1.gamma"), ("reg_token", "reg_token"), ("norm_pre.weight", "norm_pre.weight")],
)
def test_tensors_of_a_variant_are_not_left_out(project: Path, extra: str, name: str) -> None:
    """Without layer scale, registers or the first norm, the weights would load and give wrong vectors."""
    arguments = {"img_size": 64}
    state = state_of("vit_tiny_patch16_224", **arguments) | {extra: torch.ones(192)}
    assert one_line(project / "v.pt", state, "vit_tiny_patch16_224", arguments=arguments).endswith(f"1 tensor unexpected: {name}")


def test_two_encoders_are_not_chosen_from(project: Path) -> None:
    pair = prefixed(state_of("resnet10t"), "encoder_q.") | prefixed(state_of("resnet10t", 1), "encoder_k.")
    assert one_line(project / "r.pt", {"state_dict": pair}).endswith(
        "2 sets of weights of resnet10t (state_dict encoder_q.*, state_dict encoder_k.*); expected one: save it alone"
    )


@pytest.mark.parametrize(
    ("value", "kind"), [(argparse.Namespace(lr=1), "argparse.Namespace"), (np.float64(0.5), "numpy._core.multiarray.scalar")]
)
@pytest.mark.parametrize("source", ["timm_file", "open_clip_file"])
def test_python_objects_are_refused_with_the_remedy(project: Path, tiny: None, source: str, value: object, kind: str) -> None:
    path = project / "r.pt"
    torch.save({"state_dict": state_of("resnet10t"), "args": value}, path)
    fields: dict[str, dict[str, Any]] = {
        "timm_file": {"architecture": "resnet10t", "preprocess": PREPROCESS},
        "open_clip_file": {"architecture": "tiny", "activation": "gelu"},
    }
    with pytest.raises(InputError) as error:
        save_weights({"source": source, "file": str(path), "sha256": file_sha256(path)} | fields[source])
    assert str(error.value) == (
        f"{path}: includes a Python object ({kind}), and reading one can run code from the file; "
        "expected tensors alone: save the state dict alone with torch.save(model.state_dict(), ...)"
    )


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip knows the architecture tiny."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", TINY)


def clip(path: Path, contents: object) -> dict[str, Any]:
    torch.save(contents, path)
    return {"source": "open_clip_file", "architecture": "tiny", "activation": "gelu", "file": str(path), "sha256": file_sha256(path)}


def assert_saved(state: Mapping[str, torch.Tensor]) -> None:
    from safetensors.torch import load_file

    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    ("wrap", "line"),
    [
        (lambda state: {"state_dict": prefixed(state, "module.")}, ""),  # open_clip's own trainer
        (lambda state: {"model": state}, "loaded {} tensors of tiny (model); left out no tensor\n"),
        (lambda state: prefixed(state, "_orig_mod."), "loaded {} tensors of tiny (_orig_mod.*); left out no tensor\n"),
        (lambda state: state | {"head.weight": torch.zeros(2, 2)}, "loaded {} tensors of tiny; left out 1 tensor: head.weight\n"),
    ],
)
def test_an_open_clip_checkpoint_is_found(project: Path, tiny: None, capsys: pytest.CaptureFixture[str], wrap: Any, line: str) -> None:
    state = open_clip.create_model("tiny", pretrained=None).state_dict()
    save_weights(clip(project / "c.pt", wrap(state)))
    assert_saved(state)
    assert capsys.readouterr().out == (f"{project / 'c.pt'}: {line.format(len(state))}" if line else "")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_archive_of_an_open_clip_model(project: Path, tiny: None) -> None:
    """OpenAI published its weights so; torch.load refuses them, and nothing of them is run."""
    model = open_clip.create_model("tiny", pretrained=None)
    path = project / "c.pt"
    torch.jit.save(torch.jit.script(model), path)
    save_weights({"source": "open_clip_file", "architecture": "tiny", "activation": "gelu", "file": str(path), "sha256": file_sha256(path)})
    assert_saved(model.state_dict())


def test_an_open_clip_checkpoint_of_another_model_names_the_tensors(project: Path, tiny: None) -> None:
    state = open_clip.create_model("tiny", pretrained=None).state_dict()
    del state["visual.proj"]
    with pytest.raises(InputError, match=r"c\.pt: expected weights of tiny: 1 tensor missing: visual\.proj$"):
        save_weights(clip(project / "c.pt", state))


def test_torchs_own_error_is_one_line_with_the_tensors() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict({"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(2), "9.bias": torch.zeros(1)})
    assert checkpoint.one_line(error.value) == (
        "4 tensors missing: 1.weight, 1.bias, 2.weight, ...; 1 tensor unexpected: 9.bias; 1 tensor of another shape: 0.weight"
    )
    assert checkpoint.one_line(ValueError("two\nlines")) == "two"
