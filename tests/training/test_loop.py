"""The loop learns, selects the epoch on val, is reproducible, resumes after a kill, and stops if the loss is not finite."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.training import image_set, processes
from clipstore.training import loop as training
from clipstore.training.classifier import Classifier
from clipstore.training.curve import Point, best_so_far
from clipstore.training.image_set import ImageSet, Resident
from clipstore.training.optimizer import lr_factor

CLASSES = 3
STEPS = 3  # per epoch, of 24 images in batches of 8


def settings(**fields: object) -> Training:
    fast = {
        "epochs": 4,
        "batch_size": 8,
        "image_size": 16,
        "lr": 0.01,
        "crop_pct": 1.0,
        "precision": "float32",
        "ema_decay": 0.8,
        "warmup_epochs": 1,
    }
    return Training.model_validate(fast | fields)


def noisy_colours(count: int, seed: int) -> ImageSet:
    """Return noisy images with one colour per class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    colours = np.eye(3)[labels][:, :, None, None] * 80
    noisy = (colours + random.integers(0, 170, (count, 3, 16, 16))).astype(np.uint8)
    return ImageSet([torch.from_numpy(image) for image in noisy], labels)


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(backbone, 8, CLASSES, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.1)


def fit(tmp_path: Path, last_epoch: int = 4, **fields: Any) -> training.Fitted:
    loop = training.Loop(network(), settings(**fields), 0, STEPS)
    evaluated = {"val": noisy_colours(12, 2), "test": noisy_colours(12, 3)}
    return training.fit(loop, noisy_colours(24, 1), evaluated, STEPS * last_epoch, tmp_path / "state.pt", "x")


def refit(tmp_path: Path, last_step: int, **fields: Any) -> training.Loop:
    """Train on 40 images, 5 steps per epoch, by the schedule of 24 images."""
    loop = training.Loop(network(), settings(**fields), 0, STEPS)
    training.fit(loop, noisy_colours(40, 4), {}, last_step, tmp_path / "refit.pt", "x")
    return loop


def set_val(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Set the accuracies of the epochs on val; those on test grow."""

    def scored(_: object, __: object, epoch: int, split: str) -> Point:
        value = values[epoch - 1] if split == "val" else epoch / 100
        return {"epoch": epoch, "split": split, "loss": 1.0, "accuracy": value, "mean_per_class": value}

    monkeypatch.setattr(training, "evaluate", scored)


def same(first: training.Fitted, second: training.Fitted) -> bool:
    return first.curve == second.curve and all(torch.equal(value, second.state[key]) for key, value in first.state.items())


@pytest.mark.parametrize(
    "fields", [{}, {"optimizer": "sgd", "lr": 0.1, "ema_decay": 0}, {"mixup": 0.2, "cutmix": 1.0}, {"label_smoothing": 0}]
)
def test_it_learns(tmp_path: Path, fields: dict[str, Any]) -> None:
    fitted = fit(tmp_path, 12, epochs=12, **fields)
    assert max(point["accuracy"] for point in fitted.curve if point["split"] == "test") > 0.9
    assert [point["epoch"] for point in fitted.curve if point["split"] == "val"] == list(range(1, 13))


def test_the_epoch_is_selected_on_val_and_ties_go_to_the_smaller_loss(tmp_path: Path) -> None:
    fitted = fit(tmp_path)
    val = [point for point in fitted.curve if point["split"] == "val"]
    accuracies = [point["mean_per_class"] for point in val]
    assert accuracies.count(max(accuracies)) > 1
    assert fitted.epoch == min(val, key=lambda point: (-point["mean_per_class"], point["loss"]))["epoch"]
    assert fitted.epoch > accuracies.index(max(accuracies)) + 1


def test_of_epochs_that_val_cannot_tell_apart_the_first_is_best() -> None:
    def curve(*losses: float) -> list[Point]:
        return [
            {"epoch": at, "split": split, "loss": loss, "accuracy": 1.0, "mean_per_class": 1.0}
            for at, loss in enumerate(losses, 1)
            for split in ("train", "val")
        ]

    assert best_so_far(curve(0.5))
    assert best_so_far(curve(0.5, 0.4))
    assert not best_so_far(curve(0.5, 0.5))
    assert not best_so_far(curve(0.4, 0.5))
    assert best_so_far([point for point in curve(0.4, 0.5) if point["split"] != "val"])


def test_two_runs_give_the_same_bits(tmp_path: Path) -> None:
    assert same(fit(tmp_path / "a", mixup=0.2), fit(tmp_path / "b", mixup=0.2))


def test_a_run_that_stopped_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", mixup=0.2, freeze_backbone_epochs=1)
    fit(tmp_path / "cut", 2, mixup=0.2, freeze_backbone_epochs=1)
    assert same(fit(tmp_path / "cut", mixup=0.2, freeze_backbone_epochs=1), whole)


def test_a_finished_run_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(tmp_path)
    monkeypatch.setattr(training.Loop, "train_epoch", None)
    assert same(fit(tmp_path), first)


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(tmp_path, 2)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(InputError, match=r"x: epoch 3 of 4: the loss is nan at step 2: a lower lr .*; the network of epoch \d is in "):
        monkeypatch.setattr(training, "lr_factor", lambda *_: float("nan"))
        fit(tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


class Reads(TorchDispatchMode):
    """Counts operations that make the CPU wait for a GPU: reading a value, and shapes that depend on values."""

    names = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in self.names
        return func(*args, **kwargs or {})


def test_a_step_reads_nothing_from_the_device() -> None:
    def reads(batch_size: int) -> int:
        chosen = settings(batch_size=batch_size, trivial_augment=True)
        steps = 24 // batch_size
        loop = training.Loop(network(), chosen, 0, steps)
        mode = Reads()
        with mode:
            loop.train_epoch(Resident(noisy_colours(24, 1), chosen, torch.device("cpu")), steps, "x")
        return mode.count

    mode = Reads()
    with mode:
        torch.ones(1).item()
    assert mode.count == 1  # the mode does count
    assert reads(2) == reads(12)


def on_the_device(monkeypatch: pytest.MonkeyPatch, free: int = 10**9) -> None:
    """Place images as if the device had so many free bytes."""
    monkeypatch.setattr(training, "placed", partial(image_set.placed, free=free))


def test_a_run_with_images_on_the_device_stopped_and_resumed_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_device(monkeypatch)
    whole = fit(tmp_path / "whole", trivial_augment=True, mixup=0.2)
    fit(tmp_path / "cut", 2, trivial_augment=True, mixup=0.2)
    assert same(fit(tmp_path / "cut", trivial_augment=True, mixup=0.2), whole)


def test_images_that_do_not_fit_stay_on_the_cpu_which_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_SAID", set())
    slow = fit(tmp_path / "cpu")
    on_the_device(monkeypatch, free=1000)
    assert same(fit(tmp_path / "a"), slow)
    fit(tmp_path / "b")
    lines = [line for line in capsys.readouterr().err.splitlines() if "GB" in line]
    assert lines == ["x: 0.0 GB of images do not fit in 0.0 GB, half of the GPU's free memory: the CPU augments them"]


def limit_memory(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    """Let a network run out of memory with more images at once."""
    forward = Classifier.forward

    def limited(self: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, pixels)

    monkeypatch.setattr(Classifier, "forward", limited)


def test_a_batch_that_does_not_fit_is_computed_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_norm = {"dropout": 0, "freeze_batch_norm": True}
    monkeypatch.setattr("torch.nn.Dropout.forward", lambda _, x: x)
    whole = fit(tmp_path / "whole", **without_norm)
    limit_memory(monkeypatch, 3)
    monkeypatch.setattr(processes, "_SAID", set())
    parts = fit(tmp_path / "parts", **without_norm)
    np.testing.assert_allclose([point["loss"] for point in parts.curve], [point["loss"] for point in whole.curve], rtol=1e-4)
    fit(tmp_path / "cut", 2, **without_norm)
    assert same(fit(tmp_path / "cut", **without_norm), parts)
    lines = [line for line in capsys.readouterr().err.splitlines() if "memory" in line and "evaluation" not in line]
    assert lines[:2] == [f"x: epoch 1 of 4: out of memory: batches of 8 are now computed in {parts} parts" for parts in (2, 4)]


def test_a_batch_of_which_no_part_fits_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 1)
    line = r"^x: epoch 1 of 4: 2 images of 16 x 16 pixels at once are too many for the device's memory: a smaller batch_size .* may help$"
    with pytest.raises(InputError, match=line):
        fit(tmp_path)


def test_memory_that_does_not_suffice_for_the_optimizer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    with pytest.raises(InputError, match=r"^x: CUDA out of memory\. Tried to allocate 2\.00 GiB\.: a smaller batch_size .* may help$"):
        fit(tmp_path)


def changed(after: dict[str, torch.Tensor]) -> set[str]:
    """Return what differs from the state of the untrained network."""
    return {key for key, value in network().state_dict().items() if not torch.equal(value.to(after[key].device), after[key])}


STATISTICS = {"backbone.1.running_mean", "backbone.1.running_var", "backbone.1.num_batches_tracked"}


@pytest.mark.parametrize("ema_decay", [0, 0.99])
def test_frozen_epochs_change_only_the_head(tmp_path: Path, ema_decay: float) -> None:
    assert changed(fit(tmp_path, 2, freeze_backbone_epochs=2, ema_decay=ema_decay).state) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_change_after_frozen_epochs_unless_norms_are_frozen(tmp_path: Path, frozen: bool) -> None:
    after = fit(tmp_path, 2, freeze_backbone_epochs=1, freeze_batch_norm=frozen, ema_decay=0, label_smoothing=0.1).state
    assert changed(after) == network().state_dict().keys() - (STATISTICS if frozen else set())


def test_frozen_epochs_have_no_dropout_in_the_backbone(tmp_path: Path) -> None:
    modes: list[tuple[bool, bool]] = []
    model = network()
    model.backbone.register_forward_pre_hook(lambda module, _: modes.append((module.training, model.dropout.training)))
    loop = training.Loop(model, settings(freeze_backbone_epochs=1), 0, STEPS)
    training.fit(loop, noisy_colours(40, 4), {}, 6, tmp_path / "state.pt", "x")  # epochs of 5 steps
    assert modes == [(False, True)] * 3 + [(True, True)] * 3


def test_training_stops_when_val_has_not_improved_for_its_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_val(monkeypatch, 0.1, 0.3, 0.2, 0.3, 0.9, 0.9)
    fitted = fit(tmp_path / "a", 6, epochs=6, patience=2)
    assert (fitted.epoch, fitted.curve[-1]["epoch"]) == (2, 4)
    fitted = fit(tmp_path / "b", 6, epochs=6, patience=3)
    assert (fitted.epoch, fitted.curve[-1]["epoch"]) == (5, 6)


def test_a_run_that_stopped_resumes_to_the_same_end_with_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_val(monkeypatch, 0.1, 0.3, 0.2, 0.3, 0.9, 0.9)
    whole = fit(tmp_path / "whole", 6, epochs=6, patience=2)
    fit(tmp_path / "cut", 3, epochs=6, patience=2)
    assert same(fit(tmp_path / "cut", 6, epochs=6, patience=2), whole)
    monkeypatch.setattr(training.Loop, "train_epoch", None)
    assert same(fit(tmp_path / "cut", 6, epochs=6, patience=2), whole)


def test_a_refit_ends_after_its_steps_inside_an_epoch(tmp_path: Path) -> None:
    loop = refit(tmp_path, 7, patience=1)
    assert (loop.steps_done, loop.epochs_done) == (7, 2)
    assert all(state["step"] == 7 for state in loop.optimizer.state.values())


def test_every_step_of_a_refit_has_the_rate_of_the_first_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[float] = []

    def recorded(step: int, steps: int, warmup_steps: int) -> float:
        factors.append(lr_factor(step, steps, warmup_steps))
        return factors[-1]

    monkeypatch.setattr(training, "lr_factor", recorded)
    fit(tmp_path, 3)
    first = factors.copy()
    factors.clear()
    refit(tmp_path, 9)
    assert factors == first
    assert len(set(first)) == 8  # the third step of the warm-up and the first of the decay have the peak rate


def test_a_killed_refit_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = refit(tmp_path / "whole", 8, freeze_backbone_epochs=1).evaluated_network.state_dict()
    train_epoch = training.Loop.train_epoch

    def killed(loop: training.Loop, *arguments: Any) -> Point:
        if loop.epochs_done == 1:
            raise KeyboardInterrupt
        return train_epoch(loop, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Loop, "train_epoch", killed)
        refit(tmp_path / "cut", 8, freeze_backbone_epochs=1)
    resumed = refit(tmp_path / "cut", 8, freeze_backbone_epochs=1)
    assert all(torch.equal(value, whole[key]) for key, value in resumed.evaluated_network.state_dict().items())


def test_a_loss_of_nan_in_the_first_epoch_is_one_line(tmp_path: Path) -> None:
    line = r"^x: epoch 1 of 4: the loss is (nan|inf) at step \d: a lower lr \(now 1e\+30\) may help$"
    with pytest.raises(InputError, match=line):
        fit(tmp_path, lr=1e30, warmup_epochs=0)
    assert not (tmp_path / "state.pt").exists()


def test_weights_that_are_not_finite_after_the_last_step_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^x: epoch 1 of 1: the weights are not finite after step 1: a lower lr \(now 1e\+39\) may help$"):
        loop = training.Loop(network(), settings(lr=1e39, warmup_epochs=0), 0, 1)
        training.fit(loop, noisy_colours(8, 1), {}, 1, tmp_path / "state.pt", "x")


@pytest.mark.parametrize("fields", [{}, {"mixup": 0.2, "cutmix": 1.0}])
@pytest.mark.parametrize("count", [1, 2])
def test_a_single_image_per_class_trains(tmp_path: Path, count: int, fields: dict[str, Any]) -> None:
    loop = training.Loop(network(), settings(**fields), 0, 1)
    fitted = training.fit(loop, noisy_colours(count, 1), {"val": noisy_colours(3, 2)}, 4, tmp_path / "state.pt", "x")
    assert fitted.curve[-1]["epoch"] == 4


def test_fewer_images_than_processes_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "process_state", lambda: SimpleNamespace(num_processes=2))
    assert training.steps_per_epoch(5, settings(batch_size=2)) == 2
    with pytest.raises(InputError, match=r"^params\.yaml: processes = 2: expected at most 1, the number of images to train on$"):
        training.steps_per_epoch(1, settings())


def test_a_folder_that_is_not_writable_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the training state cannot be saved"):
        loop = training.Loop(network(), settings(), 0, STEPS)
        training.fit(loop, noisy_colours(24, 1), {}, STEPS, tmp_path / "file/state.pt", "x")
