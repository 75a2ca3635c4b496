"""Train a network on labelled images: one loop, for fine-tuning and from scratch.

Random numbers follow from seed and epoch alone, and after every epoch the whole state lies in the cache folder: a killed run goes on from
its last epoch and ends at the numbers of one that was never killed. Where a launcher has started several processes, each works on its share
of every batch; Accelerate joins them.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs, broadcast, gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from clipstore.core import atomic
from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.encoders.vision import v2
from clipstore.measure import metrics
from clipstore.training import image_set
from clipstore.training.image_set import ImageSet

State = dict[str, Tensor]


class Point(TypedDict):
    """One point of a curve; accuracies are fractions, those of "train" on augmented images while the network learns."""

    epoch: int
    split: str
    loss: float
    accuracy: float
    mean_per_class: float


@dataclass
class Fitted:
    """The network at its best epoch on val (without val: after its last), and the curves up to the last one."""

    state: State
    epoch: int
    curve: list[Point] = field(default_factory=list)


class Classifier(nn.Module):
    """A whole network: uint8 images (n, 3, h, w) in, logits (n, classes) out; a body gives features, a linear head the logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, length: int, classes: int, mean: Sequence[float], std: Sequence[float], dropout: float) -> None:
        """Put a new head on ``body``, whose features have ``length`` numbers.

        Args:
            body: pixels (n, 3, h, w), normalised, in; features (n, length) out.
            length: of its features.
            classes: number of logits.
            mean: of each channel, what the body's pixels are normalised by, as a fraction of the full range.
            std: likewise.
            dropout: probability that a feature is 0 in training.
        """
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(length, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        x = ((pixels.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.dropout(self.body(x)))
        return logits


def share(step: int, steps: int, warmup_steps: int) -> float:
    """Return the learning rate at ``step`` of ``steps`` as a share of its peak: a linear warm-up, then a cosine down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def parameter_groups(model: Classifier, settings: Training) -> list[dict[str, Any]]:
    """Return the optimiser's groups: learning rates that grow from the first layer to the head, no decay of gains and biases.

    Howard and Ruder 2018 call such rates discriminative. The body's last layer has ``settings.backbone_lr_scale`` times the head's rate,
    its first one ``settings.layer_decay`` times that, and each in between the same multiple of the one before it.
    """
    layers = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    groups = []
    for place, layer in enumerate(layers):
        for decays in (True, False):
            selected = [p for p in layer.parameters(recurse=False) if p.requires_grad and (p.ndim > 1) == decays]
            if selected:
                body = layer is not model.head
                rate = settings.backbone_lr_scale * settings.layer_decay ** (1 - place / max(1, len(layers) - 2)) if body else 1.0
                groups.append({"params": selected, "weight_decay": settings.weight_decay * decays, "rate": rate, "body": body})
    return groups


def optimizer_of(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with Nesterov's momentum of 0.9."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99), fused=True)


def device_type() -> str:
    """Return "cuda" or "cpu", as Accelerate will choose; to be asked first, since the first asker decides.

    Accelerate joins processes without a GPU only where it is told that there is none.
    """
    device: str = PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available()).device.type
    return device


def precision(settings: Training) -> str:
    """Return Accelerate's word for the precision of products: bf16 where the hardware has it and the settings allow it, else no."""
    from clipstore.encoders.precision import device, fast_bfloat16

    wanted = settings.precision == "bfloat16" or (settings.precision == "auto" and fast_bfloat16(device()))
    return "bf16" if wanted else "no"


class Loop:
    """A network in training: `epoch` after `epoch`, with `logits` of any pictures in between."""

    def __init__(self, model: Classifier, settings: Training, seed: int) -> None:
        """Put the model on its device, or on those of all processes."""
        partly = DistributedDataParallelKwargs(find_unused_parameters=settings.freeze_backbone_epochs > 0)
        self.accelerator = Accelerator(mixed_precision=precision(settings), kwargs_handlers=[partly])
        self.settings, self.seed, classes = settings, seed, model.head.out_features
        model = model.to(self.accelerator.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it
        groups = parameter_groups(model, settings)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer_of(groups, settings))
        plain = self.accelerator.unwrap_model(self.model)
        self.average = (
            AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True) if settings.ema_decay else None
        )
        self.done = 0
        mixes = [v2.MixUp(alpha=settings.mixup, num_classes=classes)] if settings.mixup else []
        mixes += [v2.CutMix(alpha=settings.cutmix, num_classes=classes)] if settings.cutmix else []
        self.mix = v2.RandomChoice(mixes) if mixes else None

    @property
    def judged(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average where there is one."""
        plain: nn.Module = self.average.module if self.average is not None else self.accelerator.unwrap_model(self.model)
        return plain

    def state(self) -> dict[str, Any]:
        """Return all that the epochs to come depend on."""
        return {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]

    def epoch(self, train: image_set.Augmented, name: str) -> Point:
        """Train for one epoch; return its mean loss and accuracy on the augmented images.

        Raises:
            InputError: the loss is not finite.
        """
        settings, rank, world = self.settings, self.accelerator.process_index, self.accelerator.num_processes
        batch = min(settings.batch_size, len(train.pictures) // world * world)  # a share for each process, all of one size
        batches = image_set.epochs_batches(len(train.pictures), batch, self.seed, self.done)
        steps, warmup_steps = settings.epochs * len(batches), round(settings.warmup_epochs * len(batches))
        torch.manual_seed(image_set.seed_of(self.seed, self.done, rank))
        self.model.train()
        if settings.freeze_batch_norm:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(not (group["body"] and self.done < settings.freeze_backbone_epochs))
        shares = [batch[rank::world] for batch in batches]
        told = tqdm(image_set.augmented(train, shares, settings.workers), name, len(shares), unit="step", mininterval=1, disable=rank > 0)
        losses, hits = [], []
        for number, (pixels, labels) in enumerate(told):
            now = share(self.done * len(batches) + number, steps, warmup_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = settings.lr * group["rate"] * now
            pixels, labels = pixels.to(self.accelerator.device), labels.to(self.accelerator.device)
            mixed, targets = self.mix(pixels.float(), labels) if self.mix else (pixels, labels)
            with self.accelerator.autocast():
                logits = self.model(mixed)
            loss = F.cross_entropy(logits.float(), targets, label_smoothing=settings.label_smoothing)
            if not math.isfinite(loss.item()):
                raise InputError(f"{name}: the loss is {loss.item()} at step {number + 1}: a lower lr (now {settings.lr:g}) may help")
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            if settings.grad_clip_norm:
                self.accelerator.clip_grad_norm_(self.model.parameters(), settings.grad_clip_norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.accelerator.unwrap_model(self.model))
            losses.append(loss.item())
            hits.append((logits.argmax(1) == labels).float().mean().item())
        self.done += 1
        for module in (self.accelerator.unwrap_model(self.model), *([self.average] if self.average is not None else [])):
            for buffer in module.buffers():  # statistics of BatchNorm, of which each process has its own
                broadcast(buffer)
        both = gather_object([(float(np.mean(losses)), float(np.mean(hits)))])
        loss_mean, accuracy = (float(np.mean([pair[at] for pair in both])) for at in (0, 1))
        return {"epoch": self.done, "split": "train", "loss": loss_mean, "accuracy": accuracy, "mean_per_class": accuracy}

    @torch.inference_mode()
    def logits(self, pictured: ImageSet) -> npt.NDArray[np.float32]:
        """Return the logits of the pictures' centres, in order: float32 (n, classes), in every process; each computes its share."""
        model, settings, accelerator = self.judged.eval(), self.settings, self.accelerator
        mine = list(range(accelerator.process_index, len(pictured), accelerator.num_processes))
        found = []
        for at in range(0, len(mine), settings.batch_size):
            pixels = image_set.centred(pictured, mine[at : at + settings.batch_size], settings.image_size).to(accelerator.device)
            with accelerator.autocast():
                found.append(model(pixels).float().cpu().numpy())
        shares = gather_object(list(zip(mine, np.concatenate(found) if found else [], strict=True)))
        return np.stack([logits for _, logits in sorted(shares, key=lambda pair: pair[0])])


def judged(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], epoch: int, split: str) -> Point:
    """Return loss (cross-entropy) and accuracies of logits."""
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    found = metrics.accuracies(logits.argmax(axis=1), labels)
    return {"epoch": epoch, "split": split, "loss": loss, "accuracy": found["top1"], "mean_per_class": found["mean_per_class"]}


def fit(loop: Loop, train: ImageSet, watched: Mapping[str, ImageSet], stop: int, saved: Path, name: str) -> Fitted:
    """Train for ``stop`` epochs of the schedule; the best epoch on val counts, or without val the last.

    Args:
        loop: holds model, settings and seed.
        train: to learn from.
        watched: judged after every epoch, by the name of the split; of equals on val the earlier epoch is the best.
        stop: at most the settings' epochs, over which the learning rate falls.
        saved: where the state is kept after every epoch; what lies there is gone on with.
        name: for the progress bar.

    Raises:
        InputError: the loss is not finite, or the state cannot be kept.
    """
    fitted, best = Fitted({}, 0), -1.0
    if saved.exists():
        state = torch.load(saved, map_location=loop.accelerator.device, weights_only=True)
        loop.restore(state["loop"])
        fitted, best = Fitted(state["state"], state["epoch"], state["curve"]), state["best"]
    augmented = image_set.Augmented(train, loop.settings)
    while loop.done < stop:
        try:
            fitted.curve.append(loop.epoch(augmented, f"{name}: epoch {loop.done + 1} of {stop}"))
        except InputError as error:
            kept = f"; the network of epoch {fitted.epoch} is in {saved}" if fitted.epoch else ""
            raise InputError(f"{error}{kept}") from None
        points = {split: judged(loop.logits(some), some.labels, loop.done, split) for split, some in watched.items()}
        fitted.curve += points.values()
        score = points["val"]["mean_per_class"] if "val" in points else float(loop.done)
        if score > best:
            best, fitted.epoch = score, loop.done
            fitted.state = {key: value.detach().cpu().clone() for key, value in loop.judged.state_dict().items()}
        if loop.accelerator.is_main_process:
            _keep(saved, {"loop": loop.state(), "state": fitted.state, "epoch": fitted.epoch, "curve": fitted.curve, "best": best})
        loop.accelerator.wait_for_everyone()
    return fitted


def _keep(path: Path, state: dict[str, Any]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, torch has no OSError for a full disk
            torch.save(state, file)

    try:
        atomic.write(path, write)
    except OSError as error:
        raise InputError(f"{path}: the state of training cannot be kept: {error.strerror or error}") from None
