"""Train a network on labelled images: one loop for both fine-tuning and training from scratch.

Random numbers depend only on seed and epoch, and the complete state is saved in the cache folder after every epoch. A killed run therefore
resumes after its last complete epoch and gives the same results as an uninterrupted one. If a launcher has started several processes, each
works on its part of every batch, and Accelerate combines the gradients.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast, gather_object
from torch import Tensor, nn
from tqdm import tqdm

from clipstore.core import atomic
from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.encoders.vision import v2
from clipstore.training.classifier import Classifier, logits, on_device
from clipstore.training.curve import Point, best_so_far, evaluate
from clipstore.training.image_set import Augmented, ImageSet, placed, seed_of, shuffled_batches
from clipstore.training.optimizer import MovingAverage, lr_factor, optimizer_of, parameter_groups
from clipstore.training.processes import precision, process_state, say_once


@dataclass
class Fitted:
    """The network after its best epoch on val, or after its last epoch if there is no val, and the curves of all epochs.

    Attributes:
        state: weights after the best epoch, on the CPU.
        epoch: the best epoch, counted from 1; 0 before the first.
        score: mean per class on val at the best epoch; without val, the number of the epoch.
        curve: points of all epochs.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    score: float = -1.0
    curve: list[Point] = field(default_factory=list)


class Loop:
    """A network in training, with its optimizer and, if enabled in the settings, the moving average of its weights."""

    def __init__(self, model: Classifier, settings: Training, seed: int, epoch_steps: int) -> None:
        """Move the model to this process's device and connect it with those of the other processes.

        Args:
            model: the network to train.
            settings: its settings, whose epochs (of the schedule, its warm-up and frozen backbone) are converted to steps.
            seed: seed of all random numbers.
            epoch_steps: steps of such an epoch, see `steps_per_epoch`; a refit on more images keeps those of the first training.
        """
        ddp = DistributedDataParallelKwargs(find_unused_parameters=settings.freeze_backbone_epochs > 0)
        self.accelerator = Accelerator(mixed_precision=precision(settings), kwargs_handlers=[ddp])
        self.settings, self.seed, self.epoch_steps = settings, seed, epoch_steps
        self.epochs_done = self.steps_done = 0
        self.parts = 1  # of each batch, computed one after the other because the whole does not fit in the device's memory
        model = on_device(model)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer_of(parameter_groups(model, settings), settings))
        self.average = MovingAverage(self.unwrapped_model, settings.ema_decay) if settings.ema_decay else None
        classes = model.head.out_features
        mixes = [v2.MixUp(alpha=settings.mixup, num_classes=classes)] if settings.mixup else []
        mixes += [v2.CutMix(alpha=settings.cutmix, num_classes=classes)] if settings.cutmix else []
        self.mix = v2.RandomChoice(mixes) if mixes else None

    @property
    def unwrapped_model(self) -> Classifier:
        """The network that the optimizer updates, without Accelerate's wrapper."""
        network: Classifier = self.accelerator.unwrap_model(self.model)
        return network

    @property
    def evaluated_network(self) -> Classifier:
        """The network that is evaluated and saved: the moving average, if there is one."""
        return self.unwrapped_model if self.average is None else self.average.module

    def state(self) -> dict[str, Any]:
        """Return everything that the following epochs depend on."""
        return {
            "model": self.unwrapped_model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "epochs_done": self.epochs_done,
            "steps_done": self.steps_done,
            "parts": self.parts,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state returned by `state`."""
        self.unwrapped_model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epochs_done, self.steps_done, self.parts = state["epochs_done"], state["steps_done"], state["parts"]

    def train_epoch(self, train: Augmented, last_step: int, name: str) -> Point:
        """Train for one epoch, or up to ``last_step`` if this is earlier; return the mean loss and accuracy on the augmented images.

        Losses are collected on the device and read at the end, because reading one makes the CPU wait for the device.

        Raises:
            InputError: a loss or a weight is not finite, or the device's memory does not suffice.
        """
        settings, rank, world = self.settings, self.accelerator.process_index, self.accelerator.num_processes
        count = len(train.image_set)
        batches = shuffled_batches(count, batch_size(count, settings), self.seed, self.epochs_done)[: last_step - self.steps_done]
        steps, warmup_steps, frozen_steps = (
            round(epochs * self.epoch_steps) for epochs in (settings.epochs, settings.warmup_epochs, settings.freeze_backbone_epochs)
        )
        torch.manual_seed(seed_of(self.seed, self.epochs_done, rank))
        parts = train.batches([batch[rank::world] for batch in batches], self.seed, self.epochs_done, self.accelerator.device)
        progress = tqdm(parts, name, len(batches), unit="step", mininterval=1, disable=rank > 0)
        measured = []
        for step, (pixels, labels) in enumerate(progress):
            if step == 0 or self.steps_done == frozen_steps:
                self._set_modes(frozen=self.steps_done < frozen_steps)
            factor = lr_factor(self.steps_done, steps, warmup_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = settings.lr * group["lr_scale"] * factor
            mixed, targets = self.mix(pixels.float(), labels) if self.mix else (pixels, labels)
            loss, outputs = self._backward(mixed, targets, name)
            if settings.grad_clip_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), settings.grad_clip_norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.unwrapped_model)
            self.steps_done += 1
            measured.append(torch.stack([loss, (outputs.argmax(1) == labels).float().mean()]))
        losses, accuracies = np.mean(gather_object([torch.stack(measured).double().cpu().numpy()]), axis=0).T
        for step, loss_mean in enumerate(losses, 1):
            if not math.isfinite(loss_mean):
                raise InputError(f"{name}: the loss is {loss_mean} at step {step}: a lower lr (now {settings.lr:g}) may help")
        self.epochs_done += 1
        self._share_buffers()
        if not torch.stack([value.isfinite().all() for value in self.evaluated_network.state_dict().values()]).all():
            raise InputError(f"{name}: the weights are not finite after step {len(batches)}: a lower lr (now {settings.lr:g}) may help")
        accuracy = float(accuracies.mean())
        return {"epoch": self.epochs_done, "split": "train", "loss": float(losses.mean()), "accuracy": accuracy, "mean_per_class": accuracy}

    def _backward(self, pixels: Tensor, targets: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a batch, in parts if the device's memory requires it; return the loss and the logits, detached.

        Raises:
            InputError: not even two images fit, or one of several processes runs out of memory.
        """
        while True:
            self.optimizer.zero_grad()
            try:
                return self._gradients(pixels, targets)
            except torch.OutOfMemoryError:
                # Several processes must leave a step together; BatchNorm needs two images.
                if self.accelerator.num_processes > 1 or len(pixels) < 4 * self.parts:
                    size, images = self.settings.image_size, len(pixels) // self.parts
                    problem = f"{images} images of {size} x {size} pixels at once are too many for the device's memory"
                    raise InputError(f"{name}: {problem}: a smaller batch_size or image_size may help") from None
            self.parts *= 2  # after the except clause, whose exception refers to the tensors of the failed attempt
            torch.cuda.empty_cache()
            say_once(f"{name}: out of memory: batches of {len(pixels)} are now computed in {self.parts} parts")

    def _gradients(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        losses, logits_of_parts = [], []
        for part, part_targets in zip(pixels.tensor_split(self.parts), targets.tensor_split(self.parts), strict=True):
            with self.accelerator.autocast():
                outputs = self.model(part).float()
            loss = F.cross_entropy(outputs, part_targets, label_smoothing=self.settings.label_smoothing) * (len(part) / len(pixels))
            self.accelerator.backward(loss)
            losses.append(loss.detach())
            logits_of_parts.append(outputs.detach())
        return torch.stack(losses).sum(), torch.cat(logits_of_parts)

    def _set_modes(self, frozen: bool) -> None:
        """Set the model to training mode, except the backbone if it is ``frozen``, and BatchNorm if the settings freeze it."""
        self.model.train()
        self.unwrapped_model.backbone.train(not frozen)
        if self.settings.freeze_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(not (group["in_backbone"] and frozen))

    def _share_buffers(self) -> None:
        """Copy the first process's BatchNorm statistics to all processes; until now they differ."""
        for module in (self.unwrapped_model, *([self.average] if self.average is not None else [])):
            for buffer in module.buffers():
                broadcast(buffer)


def batch_size(count: int, settings: Training) -> int:
    """Return the number of images per step of ``count`` images; every process gets the same number.

    Raises:
        InputError: there are fewer images than processes.
    """
    world: int = process_state().num_processes
    if count < world:
        raise InputError(f"params.yaml: processes = {world}: expected at most {count}, the number of images to train on")
    return min(settings.batch_size, count // world * world)


def steps_per_epoch(count: int, settings: Training) -> int:
    """Return the number of batches that ``count`` images give in one epoch."""
    return count // batch_size(count, settings)


def fit(loop: Loop, train: ImageSet, evaluated: Mapping[str, ImageSet], last_step: int, state_path: Path, name: str) -> Fitted:
    """Train up to ``last_step`` of the schedule; return the best epoch on val, or the last epoch if there is no val.

    If the settings have patience, training stops after this number of epochs without improvement on val.

    Args:
        loop: model, settings and seed.
        train: the images to train on.
        evaluated: image sets by split name, evaluated after every epoch.
        last_step: at most the steps of the settings' epochs, over which the learning rate decays.
        state_path: file for the state after every epoch; if it exists, training resumes from it.
        name: title of the progress bar.

    Raises:
        InputError: the loss or the weights are not finite, the device's memory does not suffice, or the state cannot be saved.
    """
    fitted = Fitted()
    if state_path.exists():
        saved = torch.load(state_path, map_location="cpu", weights_only=True)
        loop.restore(saved["loop"])
        fitted = Fitted(**saved["fitted"])
    augmented, evaluated = placed(train, evaluated, loop.settings, loop.accelerator.device, name)
    epochs = math.ceil(last_step / steps_per_epoch(len(train), loop.settings))
    patience = loop.settings.patience or epochs
    while loop.steps_done < last_step and loop.epochs_done < fitted.epoch + patience:
        try:
            fitted.curve.append(loop.train_epoch(augmented, last_step, f"{name}: epoch {loop.epochs_done + 1} of {epochs}"))
        except InputError as error:
            saved_network = f"; the network of epoch {fitted.epoch} is in {state_path}" if fitted.epoch else ""
            raise InputError(f"{error}{saved_network}") from None
        except torch.OutOfMemoryError as error:  # outside the network, where a smaller part of the batch does not help
            problem = str(error).splitlines()[0]
            raise InputError(f"{name}: {problem}: a smaller batch_size or image_size, or sgd instead of adamw, may help") from None
        epoch, network = loop.epochs_done, loop.evaluated_network
        points = {
            split: evaluate(logits(network, images, loop.settings), images.labels, epoch, split) for split, images in evaluated.items()
        }
        fitted.curve += points.values()
        if best_so_far(fitted.curve):
            fitted.score, fitted.epoch = points["val"]["mean_per_class"] if "val" in points else float(epoch), epoch
            fitted.state = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
        if loop.accelerator.is_main_process:
            _save(state_path, {"loop": loop.state(), "fitted": vars(fitted)})
        loop.accelerator.wait_for_everyone()
    return fitted


def _save(path: Path, state: dict[str, Any]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # with a path instead of a file, torch raises no OSError when the disk is full
            torch.save(state, file)

    try:
        atomic.write(path, write)
    except OSError as error:
        raise InputError(f"{path}: the training state cannot be saved: {error.strerror or error}") from None
