"""One training by SimCLR: its options, its state, and how the state is kept."""

import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import normalize

from disp_plugin.datasets import SeededDraws
from disp_plugin.files import write_file
from disp_plugin.progress import track

from .build_network import build_backbone, seeded
from .load_weights import META_KEY
from .simclr_views import EpochBatches, TwoViews, ViewOptions

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class SimCLROptions:
    """How to train; all of it is written into the file.

    Args:
        arch (str): A network of torchvision or timm. Defaults to 'resnet18'.
        arch_kwargs (dict): Its further arguments. Defaults to dict().
        views (ViewOptions): What a view keeps of an image. Defaults to ViewOptions().
        epochs (int): Passes over the images. Defaults to 100.
        batch_size (int | None): Images in a batch, each of which is told from all others in it.
            None is 256, or the number of images where that is smaller. Defaults to None.
        lr (float): Highest learning rate of AdamW; it rises for a tenth of the training and falls
            along a cosine. Defaults to 1e-3.
        weight_decay (float): Of AdamW. Defaults to 1e-4.
        temperature (float): Of the NT-Xent loss. Defaults to 0.2.
        projection_dim (int): Length of what the loss sees, behind the head that is thrown away.
            Defaults to 128.
        seed (int): Of weights, order and views. Defaults to 0.

    Raises:
        ValueError: A value is out of range.
    """

    arch: str = 'resnet18'
    arch_kwargs: dict[str, Any] = field(default_factory=dict)
    views: ViewOptions = field(default_factory=ViewOptions)
    epochs: int = 100
    batch_size: int | None = None
    lr: float = 1e-3
    weight_decay: float = 1e-4
    temperature: float = 0.2
    projection_dim: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f'epochs must be at least 1, but is {self.epochs}')
        if self.batch_size is not None and self.batch_size < 2:
            raise ValueError(
                f'batch-size must be at least 2, but is {self.batch_size}: an encoder is trained '
                'on several images at a time'
            )
        for name in ('lr', 'temperature'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be positive, but is {getattr(self, name)}')
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, but is {self.seed}')


class SimCLRRun:
    """The state of a training: networks, optimizer, and the epoch that comes next.

    Args:
        options (SimCLROptions): How to train.
        identity (dict): All that the result depends on.
        device (str): Where to train.
        amp (bool | None): Autocast to float16; None: on a GPU. Defaults to None.
    """

    outcome = 'of the views find their pair'

    def __init__(
        self, options: SimCLROptions, identity: dict, device: str, amp: bool | None = None
    ) -> None:
        self.options = options
        self.identity = identity
        self.device = torch.device(device)
        self.amp = self.device.type == 'cuda' and amp is not False
        self.epoch, self.loss, self.paired = 0, float('nan'), float('nan')
        size = options.views.in_size
        with seeded(options.seed):
            self.backbone = build_backbone(options.arch, options.arch_kwargs)
            with torch.no_grad():
                self.prior_dim = self.backbone.eval()(torch.zeros(1, 3, size, size)).shape[1]
            self.head, self.loss_fn = self._make_head()
        self.network = nn.Sequential(self.backbone, self.head).to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), options.lr, weight_decay=options.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp)

    def _make_head(self) -> tuple[nn.Module, Any]:
        """Build what stands behind the backbone in training, and the loss of its output."""
        from pytorch_metric_learning.losses import SelfSupervisedLoss, SupConLoss

        head = nn.Sequential(
            nn.Linear(self.prior_dim, self.prior_dim),
            nn.BatchNorm1d(self.prior_dim),
            nn.ReLU(),
            nn.Linear(self.prior_dim, self.options.projection_dim),
        )
        # With one positive for each view this is NT-Xent; the library's class of that name needs
        # memory and time that grow with the cube of the batch.
        return head, SelfSupervisedLoss(SupConLoss(self.options.temperature))

    def _make_views(self, paths: list[str]) -> Dataset:
        return TwoViews(paths, self.options.views)

    def _judge(self, first: Tensor, second: Tensor, *targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss of both views of N images, and the share of views told rightly."""
        return self.loss_fn(first, second), find_pairs(first.detach(), second.detach())

    def train(
        self, paths: list[str], batch_size: int, num_workers: int, part_file: Path, progress: bool
    ) -> None:
        """Train until the last epoch, keeping the state on disk after each.

        Args:
            paths (list[str]): Image files.
            batch_size (int): Images in a batch.
            num_workers (int): Processes that make views.
            part_file (Path): Where the state is kept.
            progress (bool): Whether to draw a bar on a terminal.
        """
        options, num_steps = self.options, len(paths) // batch_size
        epochs = range(self.epoch, options.epochs)
        loader = DataLoader(
            SeededDraws(self._make_views(paths), options.seed),
            batch_sampler=EpochBatches(len(paths), batch_size, epochs, options.seed),
            num_workers=num_workers,
            pin_memory=self.device.type == 'cuda',
            generator=torch.Generator(),  # workers are seeded by it, not by the caller's generator
        )
        total, done = options.epochs * num_steps, self.epoch * num_steps
        batches = track(loader, total, 'training', progress, done=done)
        every = max(1, options.epochs // 10)
        for epoch in epochs:
            with seeded(options.seed * 1_000_003 + epoch):  # for networks with dropout
                outcomes = [
                    self._step(
                        next(batches), (epoch * num_steps + i) / (num_steps * options.epochs)
                    )
                    for i in range(num_steps)
                ]
            self.loss, self.paired = torch.stack(outcomes).mean(0).tolist()
            self._check_loss(epoch)
            self.epoch = epoch + 1
            self.save(part_file)
            if self.epoch % every == 0 or self.epoch == options.epochs:
                print_log(
                    f'epoch {self.epoch}/{options.epochs}: loss {self.loss:.3f}, '
                    f'{self.paired:.0%} {self.outcome}',
                    logger='current',
                )

    def _step(self, batch: Any, done: float) -> Tensor:
        for group in self.optimizer.param_groups:
            group['lr'] = self.options.lr * learning_rate_factor(done)
        views, *targets = batch if isinstance(batch, (list, tuple)) else (batch,)
        views = views.to(self.device, non_blocking=True).transpose(0, 1).flatten(0, 1)
        img = normalize(views.permute(0, 3, 1, 2).float() / 255, list(MEAN), list(STD))
        with torch.autocast(self.device.type, torch.float16, enabled=self.amp):
            embeddings = self.network(img)
        first, second = embeddings.float().chunk(2)
        loss, score = self._judge(first, second, *(t.to(self.device) for t in targets))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.stack([loss.detach(), score])

    def _check_loss(self, epoch: int) -> None:
        if self.loss != self.loss or self.loss == float('inf'):
            raise ValueError(
                f'the loss is not finite after epoch {epoch + 1}; {self._remedy_for_divergence()}'
            )

    def _remedy_for_divergence(self) -> str:
        return (
            f'train with a lower lr than {self.options.lr} or a higher temperature than '
            f'{self.options.temperature}'
        )

    def save(self, part_file: Path) -> None:
        """Keep the state on disk.

        Args:
            part_file (Path): File to replace.
        """
        state = {
            'identity': json.dumps(self.identity),
            'epoch': self.epoch,
            'outcome': [self.loss, self.paired],
            'network': self.network.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'scaler': self.scaler.state_dict(),
        }
        write_file(part_file, _to_bytes(state))

    def load(self, part_file: Path) -> None:
        """Go on from a kept state.

        Args:
            part_file (Path): File of :meth:`save`.

        Raises:
            ValueError: It is of another training, or no such file.
        """
        try:
            state = torch.load(part_file, map_location=self.device, weights_only=True)
            identity = json.loads(state['identity'])
        except Exception as error:
            raise ValueError(
                f'{part_file} is not the state of an earlier training, or is damaged; delete it, '
                'or begin anew with --no-resume'
            ) from error
        change = describe_change(identity, self.identity)
        if change:
            raise ValueError(
                f'{part_file} is the state of another training ({change}); give the same options '
                'to go on, or begin anew with --no-resume'
            )
        self.network.load_state_dict(state['network'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.scaler.load_state_dict(state['scaler'])
        self.epoch = state['epoch']
        self.loss, self.paired = state['outcome']
        print_log(f'going on after epoch {self.epoch} ({part_file})', logger='current')

    def export(self, out_file: Path) -> None:
        """Write the backbone with all that is needed to use it.

        Args:
            out_file (Path): ``.safetensors``, or another name for ``torch.save``.
        """
        meta = {
            'arch': self.options.arch,
            'arch_kwargs': self.options.arch_kwargs,
            'in_size': self.options.views.in_size,
            'mean': MEAN,
            'std': STD,
            'interpolation': 'bilinear',
            'prior_dim': self.prior_dim,
            'training': self.identity,
            'loss': self.loss,
            'paired': self.paired,
        }
        weights = {name: value.cpu() for name, value in self.backbone.state_dict().items()}
        if out_file.suffix == '.safetensors':
            from safetensors.torch import save

            content = save(weights, {META_KEY: json.dumps(meta)})
        else:
            content = _to_bytes({META_KEY: json.dumps(meta), 'state_dict': weights})
        write_file(out_file, content)


def learning_rate_factor(done: float) -> float:
    """Follow the schedule: a linear rise over the first tenth, then half a cosine.

    Args:
        done (float): Share of the training that is done, in [0, 1).

    Returns:
        float: Share of the highest learning rate.
    """
    if done < 0.1:
        return 0.05 + 0.95 * done / 0.1
    return 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


def find_pairs(first: Tensor, second: Tensor) -> Tensor:
    """Measure how well views are recognized.

    Args:
        first (Tensor): (N, F) embeddings of one view of each image.
        second (Tensor): (N, F) embeddings of the other.

    Returns:
        Tensor: () share of the 2N views whose most similar one is the other view of its image.
    """
    views = nn.functional.normalize(torch.cat([first, second]))
    similarity = (views @ views.T).fill_diagonal_(-2)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return (similarity.argmax(1) == partner).float().mean()


def describe_change(before: dict, now: dict) -> str:
    """Say which options differ between two trainings.

    Args:
        before (dict): What the file says.
        now (dict): What is asked for.

    Returns:
        str: Such as 'epochs 10 instead of 20'; empty where all agree.
    """
    before = {**before, **before.get('views', {})}
    now = {**now, **now.get('views', {})}
    changes = [
        f'other {name}'
        if name in ('images', 'labels')
        else f'{name} {before.get(name)} instead of {value}'
        for name, value in now.items()
        if name != 'views' and before.get(name) != value
    ]
    return ', '.join(changes)


def _to_bytes(content: dict) -> bytes:
    # not straight to the file: torch hides what the system says of a full disk
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
