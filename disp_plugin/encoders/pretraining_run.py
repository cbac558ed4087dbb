"""One training of an encoder on random views of images: options, heads, views, state on disk."""

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image
from pytorch_metric_learning.losses import SelfSupervisedLoss, SupConLoss
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.functional import normalize

from disp_plugin.datasets import ImageFolderDataset, SeededDraws, check_views, tell_odd_images
from disp_plugin.files import check_out, write_file
from disp_plugin.progress import track
from disp_plugin.weights import pack_safetensors

from .backbone import META_KEY, Meta, NetworkArgs, build_backbone, read_checkpoint, seeded

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class PretrainOptions:
    """How to train; all of it is written into the file.

    What a view does not keep of an image, the encoder learns to ignore.

    Args:
        arch (str): A network of torchvision or timm. Defaults to 'resnet18'.
        arch_kwargs (dict): Its further arguments. Defaults to dict().
        in_size (int): Height and width of a view. Defaults to 128.
        min_crop (float): Smallest fraction of the image's area in a view. Defaults to 0.2.
        flip (bool): Whether to mirror half of the views. Defaults to True.
        color_jitter (float): Strength of the jitter of brightness, contrast, saturation and hue, in
            80 % of the views; 1 is that of SimCLR on ImageNet, 0 keeps all colors. Defaults to
            0.5.
        grayscale (float): Fraction of views without color. Defaults to 0.2.
        rotation (float): Largest rotation in degrees, after the crop. Defaults to 0.
        shift (float): Largest shift as a fraction of the side, after the crop. Defaults to 0.
        epochs (int): Passes over the images. Defaults to 100.
        batch_size (int | None): Images in a batch. None is 256, or the number of images where that
            is smaller. Defaults to None.
        lr (float): Highest learning rate of AdamW; it rises for a tenth of the training and falls
            along a cosine. Defaults to 1e-3.
        weight_decay (float): Of AdamW. Defaults to 1e-4.
        seed (int): Of weights, order and views. Defaults to 0.

    Raises:
        ValueError: A value is out of range.
    """

    arch: str = 'resnet18'
    arch_kwargs: NetworkArgs = field(default_factory=dict)
    in_size: int = 128
    min_crop: float = 0.2
    flip: bool = True
    color_jitter: float = 0.5
    grayscale: float = 0.2
    rotation: float = 0.0
    shift: float = 0.0
    epochs: int = 100
    batch_size: int | None = None
    lr: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        several = 'at least 2 (an encoder is trained on several images at a time)'
        for holds, name, rule, value in (
            (self.in_size >= 8, 'size', 'at least 8', self.in_size),
            (0 < self.min_crop <= 1, 'min-crop', 'above 0 and at most 1', self.min_crop),
            (0 <= self.color_jitter <= 2, 'color-jitter', 'from 0 to 2', self.color_jitter),
            (0 <= self.grayscale <= 1, 'grayscale', 'from 0 to 1', self.grayscale),
            (0 <= self.rotation <= 180, 'rotation', 'from 0 to 180', self.rotation),
            (0 <= self.shift < 1, 'shift', 'from 0 to below 1', self.shift),
            (self.epochs >= 1, 'epochs', 'at least 1', self.epochs),
            (
                self.batch_size is None or self.batch_size >= 2,
                'batch-size',
                several,
                self.batch_size,
            ),
            (self.lr > 0, 'lr', 'positive', self.lr),
            (self.seed >= 0, 'seed', 'at least 0', self.seed),
        ):
            if not holds:
                raise ValueError(f'{name} must be {rule}, but is {value}')


@dataclass(frozen=True)
class PretrainSettings:
    """What a training's result does not depend on.

    Args:
        num_workers (int): Processes that make views; 0: none. Defaults to 0.
        device (str | None): Where to train. None is a GPU if there is one. Defaults to None.
        amp (bool): Whether to autocast to float16, which is done on a GPU only. Defaults to True.
        resume (bool): Whether to go on from ``<out_file>.part``. Defaults to True.
        overwrite (bool): Whether to replace a file of another training. Defaults to False.
        progress (bool): Whether to show progress. Defaults to True.
    """

    num_workers: int = 0
    device: str | None = None
    amp: bool = True
    resume: bool = True
    overwrite: bool = False
    progress: bool = True


@dataclass(frozen=True)
class PretrainResult:
    """What came out of a training.

    Attributes:
        file (Path): The encoder, for ``CheckpointEncoder(checkpoint=file)``.
        prior_dim (int): Length of its priors.
        num_images (int): Images that it was trained on.
        loss (float): Mean loss of the last epoch.
        score (float): Fraction of views of the last epoch that were told rightly.
        seconds (float): What this call took; 0 where the file was there.
    """

    file: Path
    prior_dim: int
    num_images: int
    loss: float
    score: float
    seconds: float


class ContrastiveHead(nn.Sequential):
    """SimCLR's projection; it learns to tell the two views of an image from all others.

    Args:
        prior_dim (int): Length of the backbone's features.
        projection_dim (int): Length of what the loss sees.
        temperature (float): Of the NT-Xent loss.
    """

    outcome = 'of the views find their pair'

    def __init__(self, prior_dim: int, projection_dim: int, temperature: float) -> None:
        super().__init__(
            nn.Linear(prior_dim, prior_dim),
            nn.BatchNorm1d(prior_dim),
            nn.ReLU(),
            nn.Linear(prior_dim, projection_dim),
        )
        self.temperature = temperature
        self.remedy = f' or a higher temperature than {temperature}'

    def judge(self, first: Tensor, second: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute NT-Xent and the fraction of views most similar to the other of their image.

        ``first`` and ``second`` are (N, F) outputs for the two views of N images.
        """
        # With one positive for each view this is NT-Xent; the library's class of that name needs
        # memory and time that grow with the cube of the batch.
        loss = SelfSupervisedLoss(SupConLoss(self.temperature))(first, second)
        views = F.normalize(torch.cat([first, second]).detach())
        similarity = (views @ views.T).fill_diagonal_(-2)
        partner = torch.arange(len(views), device=views.device).roll(len(first))
        return loss, (similarity.argmax(1) == partner).float().mean()


class ClassificationHead(nn.Linear):
    """A linear classifier of single views."""

    outcome = 'of the views are given their label'
    remedy = ''

    def judge(self, first: Tensor, second: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute cross-entropy and accuracy of two views of images of (N,) classes."""
        scores, label = torch.cat([first, second]), torch.cat([targets, targets])
        return F.cross_entropy(scores, label), (scores.argmax(dim=1) == label).float().mean()


Head = ContrastiveHead | ClassificationHead


def pretrain(
    dataset: ImageFolderDataset,
    out_file: str | Path,
    options: PretrainOptions,
    make_head: Callable[[int], Head],
    settings: PretrainSettings | None = None,
    targets: Sequence[int] | None = None,
    details: Mapping[str, object] | None = None,
) -> PretrainResult:
    """Train an encoder on the images of a folder and write it to a file.

    After every epoch the state is in ``<out_file>.part``; a training that was stopped goes on
    there, and on a CPU gives the same encoder, bit for bit, as one that was not, with any number of
    workers.

    Args:
        dataset (ImageFolderDataset): The images, in the size they have.
        out_file (str | Path): File to write, ``.safetensors`` or any other name for ``torch.save``.
        options (PretrainOptions): How to train.
        make_head (Callable): Length of the backbone's features -> what it is trained for.
        settings (PretrainSettings | None): What the result does not depend on. Defaults to None.
        targets (Sequence[int] | None): Class of each image. Defaults to None: 0 for all.
        details (Mapping[str, object] | None): What else the result depends on; written into the
            file. Defaults to None.

    Raises:
        ValueError: Too few images, unreadable ones (all are listed), or a file of another training
            in the place of ``out_file`` or of its partial state.
        OSError: ``out_file`` cannot be written.
    """
    started, settings = time.monotonic(), settings or PretrainSettings()
    out_file, num_images = Path(out_file), len(dataset)
    batch_size = _choose_batch_size(options.batch_size, num_images, dataset.data_root)
    images = {'batch_size': batch_size, 'images': _hash_files(dataset)}
    # as it is read back: no tuples
    identity = json.loads(json.dumps({**asdict(options), **images, **(details or {})}))
    if out_file.exists() and not out_file.is_dir() and not settings.overwrite:
        return _reuse(out_file, identity, num_images)
    check_out(out_file, is_folder=False)
    tell_odd_images(dataset)
    check_views(dataset, progress=settings.progress, same_size=False)
    run = PretrainingRun(options, make_head, identity, settings)
    part_file = out_file.with_name(out_file.name + '.part')
    if settings.resume and part_file.exists():
        run.load(part_file)
    run.train(TwoViews(dataset, options, targets or [0] * num_images), batch_size, part_file)
    run.export(out_file)
    part_file.unlink(missing_ok=True)
    seconds = time.monotonic() - started
    return PretrainResult(out_file, run.prior_dim, num_images, run.loss, run.score, seconds)


def _choose_batch_size(batch_size: int | None, num_images: int, data_root: str) -> int:
    if num_images < 2:
        raise ValueError(
            f'an encoder is trained on many images, but {data_root!r} holds only {num_images}; it '
            'needs at least 2, and useful priors some hundreds'
        )
    if batch_size is not None and batch_size > num_images:
        raise ValueError(
            f'batch-size is {batch_size}, but {data_root!r} holds only {num_images} images; set it '
            f'to {num_images} or less'
        )
    return batch_size or min(256, num_images)


def _hash_files(dataset: ImageFolderDataset) -> str:
    digest = hashlib.sha256()
    if dataset.white_level is not None:
        digest.update(f'white level {dataset.white_level:g}\n'.encode())
    for key, path in zip(dataset.image_keys, dataset.image_paths, strict=True):
        digest.update(f'{key}\0{Path(path).stat().st_size}\n'.encode())
    return digest.hexdigest()


def _reuse(out_file: Path, identity: dict[str, object], num_images: int) -> PretrainResult:
    """Take the file that is there for the result if it is of the same training."""
    advice = 'give another name, or replace it with --overwrite'
    try:
        _, meta = read_checkpoint(out_file)
    except ValueError as error:
        raise ValueError(f'{out_file} exists and is no encoder; {advice}') from error
    if 'training' not in meta:
        raise ValueError(f'{out_file} exists and was not made by this tool; {advice}')
    _compare(meta['training'], identity, f'{out_file} exists and is', advice)
    print_log(f'{out_file} is up to date', logger='current')
    return PretrainResult(out_file, meta['prior_dim'], num_images, meta['loss'], meta['score'], 0.0)


def _compare(before: dict[str, object], now: dict[str, object], what: str, advice: str) -> None:
    """Raise if two trainings are not the same; name what differs."""
    changes = [
        f'other {name}'
        if name in ('images', 'labels')
        else f'{name} {before.get(name)} instead of {value}'
        for name, value in now.items()
        if before.get(name) != value
    ]
    if changes:
        raise ValueError(f'{what} of another training ({", ".join(changes)}); {advice}')


class PretrainingRun:
    """The state of a training: networks, optimizer, and the epoch that comes next.

    Args:
        options (PretrainOptions): How to train.
        make_head (Callable): Length of the backbone's features -> head, thrown away after training.
        identity (dict): All that the result depends on.
        settings (PretrainSettings): What it does not depend on.
    """

    def __init__(
        self,
        options: PretrainOptions,
        make_head: Callable[[int], Head],
        identity: dict[str, object],
        settings: PretrainSettings,
    ) -> None:
        self.options, self.identity, self.settings = options, identity, settings
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(settings.device or default)
        self.amp = self.device.type == 'cuda' and settings.amp
        self.epoch, self.loss, self.score = 0, float('nan'), float('nan')
        with seeded(options.seed):
            self.backbone = build_backbone(options.arch, options.arch_kwargs)
            with torch.no_grad():
                img = torch.zeros(1, 3, options.in_size, options.in_size)
                self.prior_dim = self.backbone.eval()(img).shape[1]
            self.head = make_head(self.prior_dim)
        self.network = nn.Sequential(self.backbone, self.head).to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), options.lr, weight_decay=options.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp)

    def train(self, views: 'TwoViews', batch_size: int, part_file: Path) -> None:
        """Train until the last epoch, keeping the state in ``part_file`` after each."""
        options, num_steps = self.options, len(views) // batch_size
        epochs = range(self.epoch, options.epochs)
        loader = DataLoader(
            SeededDraws(views, options.seed),
            batch_sampler=draw_batches(len(views), batch_size, epochs, options.seed),
            num_workers=self.settings.num_workers,
            pin_memory=self.device.type == 'cuda',
            generator=torch.Generator(),  # workers are seeded by it, not by the caller's generator
        )
        total, done = options.epochs * num_steps, self.epoch * num_steps
        batches = track(loader, total, 'training', self.settings.progress, done=done)
        every = max(1, options.epochs // 10)
        for epoch in epochs:
            with seeded(options.seed * 1_000_003 + epoch):  # for networks with dropout
                outcomes = []
                for i in range(num_steps):
                    images, targets = next(batches)
                    outcomes.append(self.step(images, targets, (epoch * num_steps + i) / total))
            self.loss, self.score = torch.stack(outcomes).mean(0).tolist()
            if not math.isfinite(self.loss):
                raise ValueError(
                    f'the loss is not finite after epoch {epoch + 1}; train with a lower lr than '
                    f'{options.lr}{self.head.remedy}'
                )
            self.epoch = epoch + 1
            self.save(part_file)
            if self.epoch % every == 0 or self.epoch == options.epochs:
                print_log(
                    f'epoch {self.epoch}/{options.epochs}: loss {self.loss:.3f}, '
                    f'{self.score:.0%} {self.head.outcome}',
                    logger='current',
                )

    def step(self, views: Tensor, targets: Tensor, done: float) -> Tensor:
        """Update the network once.

        Args:
            views (Tensor): (N, 2, H, W, 3) uint8.
            targets (Tensor): (N,) class of each image.
            done (float): Fraction of the training that is done.

        Returns:
            Tensor: (2,) loss and score.
        """
        for group in self.optimizer.param_groups:
            group['lr'] = self.options.lr * learning_rate_factor(done)
        views = views.to(self.device, non_blocking=True).transpose(0, 1).flatten(0, 1)
        img = normalize(views.permute(0, 3, 1, 2).float() / 255, list(MEAN), list(STD))
        with torch.autocast(self.device.type, torch.float16, enabled=self.amp):
            outputs = self.network(img)
        first, second = outputs.float().chunk(2)
        loss, score = self.head.judge(first, second, targets.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return torch.stack([loss.detach(), score])

    def save(self, part_file: Path) -> None:
        """Keep the state on disk."""
        state = {
            'identity': json.dumps(self.identity),
            'epoch': self.epoch,
            'outcome': [self.loss, self.score],
            'network': self.network.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'scaler': self.scaler.state_dict(),
        }
        write_file(part_file, _to_bytes(state))

    def load(self, part_file: Path) -> None:
        """Go on from a file of :meth:`save`.

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
        advice = 'give the same options to go on, or begin anew with --no-resume'
        _compare(identity, self.identity, f'{part_file} is the state', advice)
        for name in ('network', 'optimizer', 'scaler'):
            getattr(self, name).load_state_dict(state[name])
        self.epoch = state['epoch']
        self.loss, self.score = state['outcome']
        print_log(f'going on after epoch {self.epoch} ({part_file})', logger='current')

    def export(self, out_file: Path) -> None:
        """Write the backbone with all that is needed to use it."""
        info = Meta(
            arch=self.options.arch,
            arch_kwargs=self.options.arch_kwargs,
            in_size=self.options.in_size,
            mean=MEAN,
            std=STD,
            interpolation='bilinear',
            prior_dim=self.prior_dim,
            training=self.identity,
            loss=self.loss,
            score=self.score,
        )
        meta = json.dumps(info)
        weights = {name: value.cpu() for name, value in self.backbone.state_dict().items()}
        if out_file.suffix == '.safetensors':
            content = pack_safetensors(weights, {META_KEY: meta})
        else:
            content = _to_bytes({META_KEY: meta, 'state_dict': weights})
        write_file(out_file, content)


class TwoViews(Dataset):
    """Images as pairs of random views (2, in_size, in_size, 3), uint8, RGB, with their classes.

    Args:
        images (ImageFolderDataset): The images.
        options (PretrainOptions): What a view keeps.
        targets (Sequence[int]): Class of each image.
    """

    def __init__(
        self, images: ImageFolderDataset, options: PretrainOptions, targets: Sequence[int]
    ) -> None:
        self.images = images
        self.targets = targets
        self.transforms = {gray: _make_transform(options, gray) for gray in (False, True)}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images.view(index)
        is_gray = bool((pixels[..., :1] == pixels[..., 1:]).all())
        transform, image = self.transforms[is_gray], Image.fromarray(pixels)
        views = np.stack([transform(image), transform(image)])
        return torch.from_numpy(views), self.targets[index]


def _make_transform(options: PretrainOptions, is_gray: bool) -> v2.Compose:
    """Make the transform of one view, from a PIL image to an in_size x in_size one.

    What changes only colors is left out for gray images: it would take half of the time.
    """
    steps: list[nn.Module] = [v2.RandomResizedCrop(options.in_size, scale=(options.min_crop, 1))]
    if options.flip:
        steps.append(v2.RandomHorizontalFlip())
    if options.rotation or options.shift:
        shift, bilinear = (options.shift, options.shift), InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine(options.rotation, shift, interpolation=bilinear))
    if options.color_jitter:
        s = options.color_jitter
        # the published proportions; a factor of brightness must not become negative
        light = (min(0.8 * s, 1.0),) * 2
        color = () if is_gray else (0.8 * s, min(0.2 * s, 0.5))
        steps.append(v2.RandomApply([v2.ColorJitter(*light, *color)], p=0.8))
    if options.grayscale and not is_gray:
        steps.append(v2.RandomGrayscale(options.grayscale))
    return v2.Compose(steps)


def draw_batches(num_images: int, batch_size: int, epochs: range, seed: int) -> Iterator[list[int]]:
    """Draw positions ``epoch * num_images + index``, each epoch shuffled by its own seed.

    Images that do not fill a batch are left out of their epoch.
    """
    for epoch in epochs:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(num_images, generator=generator) + epoch * num_images
        for batch in order[: num_images // batch_size * batch_size].split(batch_size):
            yield batch.tolist()


def learning_rate_factor(done: float) -> float:
    """Compute the fraction of the highest rate: a linear rise for a tenth, then half a cosine."""
    if done < 0.1:
        return 0.05 + 0.95 * done / 0.1
    return 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9))


def _to_bytes(content: Mapping[str, object]) -> bytes:
    # not straight to the file: torch hides what the system says of a full disk
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
