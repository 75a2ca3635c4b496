"""The table `nets` of params.yaml: how networks are trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipstore.core.params import Section


class Training(Section):
    """How a network is trained; 0 switches an option off."""

    epochs: int = Field(ge=1)  # the learning rate's schedule covers all; the best one on val is kept
    batch_size: int = Field(ge=2)  # images, over all processes
    image_size: int = Field(ge=16)  # pixels, square
    lr: float = Field(gt=0)  # peak, of the head
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_epochs: float = Field(default=1, ge=0)  # epochs, linear; a cosine follows
    backbone_lr_scale: float = Field(default=1, gt=0, le=1)  # learning rate of the backbone's last layer, as a share of `lr`
    layer_decay: float = Field(default=1, gt=0, le=1)  # of the backbone's first layer, as a share of its last one's; geometric between
    freeze_backbone_epochs: int = Field(default=0, ge=0)  # in which only the new head learns
    freeze_batch_norm: bool = False  # BatchNorm keeps its pretrained statistics
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    mixup: float = Field(default=0, ge=0)  # alpha of its Beta distribution
    cutmix: float = Field(default=0, ge=0)
    trivial_augment: bool = False
    min_crop_scale: float = Field(default=0.35, gt=0, le=1)  # smallest random crop, as a share of the image's area
    hflip_prob: float = Field(default=0, ge=0, le=1)  # probability of mirroring left to right
    crop_pct: float = Field(default=0.875, gt=0, le=1)  # centre crop in evaluation, as a share of the shorter side
    dropout: float = Field(default=0, ge=0, lt=1)  # before the head
    ema_decay: float = Field(default=0, ge=0, lt=1)  # decay of the weights' moving average at each step
    grad_clip_norm: float = Field(default=1, ge=0)  # largest norm of the gradient
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)  # added to `seed`; predictions come from the first
    refit: bool = True  # on train + val, for the selected number of epochs
    test_curve: bool = True  # evaluate test after every epoch too, for the curves only
    processes: int = Field(default=1, ge=1)  # started by torchrun
    workers: int = Field(default=0, ge=0)  # processes that augment

    @model_validator(mode="after")
    def _batch_divides_evenly(self) -> "Training":
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size = {self.batch_size} is not a multiple of processes = {self.processes}")
        return self


class FineTune(Training):
    """Fine-tuning, starting from the encoder weights of the same name."""

    kind: Literal["finetune"]


class Scratch(Training):
    """Our own network (clipstore/training/network.py), trained from scratch."""

    kind: Literal["scratch"]
    widths: Annotated[tuple[Annotated[int, Field(ge=8)], ...], Field(min_length=1)]  # channels of each stage
    depths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]  # blocks of each stage
    stride: Literal[1, 2]  # of the stem
    drop_path: float = Field(default=0, ge=0, lt=1)  # probability of skipping the last block; linear from 0 at the first

    @model_validator(mode="after")
    def _width_and_depth_per_stage(self) -> "Scratch":
        if len(self.widths) != len(self.depths):
            raise ValueError(f"{len(self.widths)} widths and {len(self.depths)} depths: expected one of each per stage")
        return self


Net = Annotated[FineTune | Scratch, Field(discriminator="kind")]
