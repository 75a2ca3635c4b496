"""The table `nets` of params.yaml: how networks are trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clipstore.core.params import Section


class Training(Section):
    """How a network is trained; 0 switches an option off."""

    epochs: int = Field(
        ge=1, description="Most epochs of training. The learning-rate schedule spans all of them; the best epoch on val is selected."
    )
    patience: int = Field(
        default=0, ge=0, description="Epochs without improvement on val after which training stops; 0 trains for all `epochs`."
    )
    batch_size: int = Field(ge=2, description="Images per step, over all processes; a multiple of `processes`.")
    image_size: int = Field(ge=16, description="Side of the square input, in pixels.")
    lr: float = Field(gt=0, description="Peak learning rate of the head.")
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="Optimiser; sgd has a Nesterov momentum of 0.9.")
    weight_decay: float = Field(default=0.05, ge=0, description="Weight decay; biases, norms, positional embeddings and tokens are exempt.")
    warmup_epochs: float = Field(default=1, ge=0, description="Epochs of linear warm-up of the learning rate; a cosine decay follows.")
    backbone_lr_scale: float = Field(
        default=1, gt=0, le=1, description="Learning rate of the backbone's last layer, as a fraction of `lr`."
    )
    layer_decay: float = Field(
        default=1,
        gt=0,
        le=1,
        description="Learning rate of the backbone's first layer, as a fraction of its last layer's; geometric in between. "
        "Layers are those of the network's library.",
    )
    freeze_backbone_epochs: int = Field(default=0, ge=0, description="Epochs at the start in which only the head changes.")
    freeze_batch_norm: bool = Field(default=False, description="Keep the pretrained statistics of BatchNorm.")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="Label smoothing: probability mass spread over all classes.")
    mixup: float = Field(default=0, ge=0, description="Alpha of mixup's beta distribution; 0 switches mixup off.")
    cutmix: float = Field(default=0, ge=0, description="Alpha of CutMix's beta distribution; 0 switches CutMix off.")
    trivial_augment: bool = Field(default=False, description="Augment with TrivialAugment.")
    min_crop_scale: float = Field(
        default=0.35, gt=0, le=1, description="Smallest random crop in training, as a fraction of the image's area."
    )
    hflip_prob: float = Field(default=0, ge=0, le=1, description="Probability of flipping a training image horizontally.")
    crop_pct: float = Field(
        default=0.875, gt=0, le=1, description="Side of the centre crop in evaluation, as a fraction of the image's shorter side."
    )
    dropout: float = Field(default=0, ge=0, lt=1, description="Dropout probability before the head.")
    ema_decay: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="Decay per step of the moving average of the weights, at step t at most (1 + t) / (10 + t); 0 switches it off.",
    )
    grad_clip_norm: float = Field(default=1, ge=0, description="Largest norm of the gradient; 0 switches clipping off.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Precision of the computation; auto is bfloat16 if the hardware multiplies it, else float32."
    )
    seeds: tuple[int, ...] = Field(
        default=(0,),
        min_length=1,
        description="Seeds, each added to the top-level `seed`. Training is repeated for each; predictions come from the first.",
    )
    refit: bool = Field(default=True, description="Train again on train + val for as many steps as the selected epoch had.")
    test_curve: bool = Field(default=True, description="Evaluate test after every epoch too; used only for the curves.")
    processes: int = Field(default=1, ge=1, description="Processes, started by torchrun; one per GPU if there are GPUs.")
    workers: int | None = Field(
        default=None,
        ge=0,
        description="Processes that augment images where the CPU does it, or 0; by default 0 if the CPU also trains, else one per core.",
    )

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
    widths: tuple[Annotated[int, Field(ge=8)], ...] = Field(min_length=1, description="Channels of each stage of the network.")
    depths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, description="Residual blocks in each stage of the network; as many numbers as in `widths`."
    )
    stride: Literal[1, 2] = Field(description="Stride of the stem.")
    drop_path: float = Field(
        default=0, ge=0, lt=1, description="Probability of skipping the last block in training; it grows linearly from 0 at the first."
    )

    @model_validator(mode="after")
    def _width_and_depth_per_stage(self) -> "Scratch":
        if len(self.widths) != len(self.depths):
            raise ValueError(f"{len(self.widths)} widths and {len(self.depths)} depths: expected one of each per stage")
        return self


Net = Annotated[FineTune | Scratch, Field(discriminator="kind")]
