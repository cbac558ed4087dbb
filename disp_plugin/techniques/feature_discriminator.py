"""Projected GAN: a discriminator that sees by a frozen, pretrained network."""

from collections.abc import Sequence
from typing import Any

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import spectral_norm

from disp_plugin.encoders.backbone import family_of, find_library, seeded
from disp_plugin.models.discriminators import DiscriminatorWrapper
from disp_plugin.models.float32 import widen
from disp_plugin.models.prior_modules import PriorProjection, check_prior
from disp_plugin.weights import list_some

PRIOR_EMB_DIM = 64  # as cmap_dim in the published code
HEAD_SIZE = 8  # feature maps are halved until they have so many pixels a side
KERNEL = 4  # of the last convolution


@MODELS.register_module()
class FeatureDiscriminator(DiscriminatorWrapper):
    r"""Score an image by features of a frozen, pretrained network.

    Projected GAN (Sauer et al. 2021, arXiv 2111.01007; details from ``pg_modules`` of its code).
    Feature maps of ``backbone`` are mixed by fixed random 1x1 convolutions, across channels and
    then from coarse to fine; a head for each stride scores every position. With a prior p,

    .. math:: D(x, p) = D_c(x) \cdot \mathrm{LeakyReLU}(W p) / \sqrt{64} + D_l(x)

    at each position, the sum of the published conditional and unconditional heads. The loss
    averages over all scores.

    What is fixed is kept in buffers: nothing trains it, and a checkpoint resumes and samples
    without another file. The backbone is about a tenth of a checkpoint.

    Args:
        prior_dim (int): D, length of a prior, or 0 for no prior. Defaults to 0.
        in_size (int, optional): Height and width of images in pixels. Defaults to None: at most
            ``enlarge_to``.
        backbone (str): A model of timm with ``features_only``. Defaults to 'tf_efficientnet_lite0'.
        weights (dict, optional): Config of the encoder whose weights the backbone takes where
            training starts, such as ``dict(type='PackagedEncoder')``. Defaults to None: untrained.
        strides (Sequence[int]): Strides of the feature maps, from fine to coarse.
            Defaults to (4, 8, 16, 32).
        enlarge_to (int): Smaller images are enlarged to this height and width. Defaults to 224.
        base_channels (int): Channels of the finest mixed map; each coarser one has twice as many,
            and heads end with eight times as many. Defaults to 64.
        input_bgr2rgb (bool): Whether images come as BGR, as from mmagic's preprocessors unless they
            are told otherwise. Defaults to True.
        augmentation (dict | nn.Module, optional): As in :class:`DiscriminatorWrapper`.
            Defaults to None.

    Raises:
        ValueError: timm has no such model or strides, or images are too small for a stride.
    """

    takes_checkpoints = False

    def __init__(
        self,
        prior_dim: int = 0,
        in_size: int | None = None,
        backbone: str = 'tf_efficientnet_lite0',
        weights: dict | None = None,
        strides: Sequence[int] = (4, 8, 16, 32),
        enlarge_to: int = 224,
        base_channels: int = 64,
        input_bgr2rgb: bool = True,
        augmentation: dict | nn.Module | None = None,
    ) -> None:
        size = max(in_size or 0, enlarge_to)
        network = FeatureNetwork(backbone, strides, size, base_channels, prior_dim > 0)
        super().__init__(network, augmentation)
        self.prior_dim, self.in_size = prior_dim, in_size
        self.backbone, self.weights = backbone, weights
        self.input_bgr2rgb = input_bgr2rgb
        if prior_dim > 0:
            self.prior_projection = nn.ModuleList(
                PriorProjection(prior_dim, PRIOR_EMB_DIM, bias=True) for _ in strides
            )

    @property
    def family(self) -> str:
        """str: Family of the backbone, such as 'efficientnet'; its features flatter this GAN."""
        return family_of(self.backbone)

    def forward(  # type: ignore[override]
        self, img: Tensor, prior: Tensor | None = None, augment: bool = True
    ) -> Tensor:
        """Score images (N, 3, H, W) in [-1, 1] against normalized priors (N, D); return (N, K).

        Raises:
            ValueError: The prior is missing or of another shape.
        """
        prior_embs = None
        if self.prior_dim > 0:
            prior = check_prior(prior, self.prior_dim, len(img), type(self).__name__)
            prior_embs = [functional.leaky_relu(w(prior), 0.2) for w in self.prior_projection]
        img = self.prepare(img, augment)
        return widen(self.discriminator(img.flip(1) if self.input_bgr2rgb else img, prior_embs))

    def init_weights(self) -> None:
        """Load the backbone's weights.

        Raises:
            FileNotFoundError: They are not at hand.
            ValueError: They are another model's.
        """
        super().init_weights()
        if self.weights is None:
            return
        encoder = MODELS.build(dict(self.weights))
        network: Any = self.discriminator.backbone
        source = {_flatten(name): value for name, value in encoder.network.state_dict().items()}
        found: Any = {name: source.get(_flatten(name)) for name in network.state_dict()}
        wanted = network.state_dict().items()
        unfit = [k for k, v in wanted if (given := found[k]) is None or given.shape != v.shape]
        if unfit:
            raise ValueError(
                f'weights of FeatureDiscriminator are of {encoder.architecture}, which lacks '
                f'{list_some(unfit)} of timm/{self.backbone}; set backbone to the same model'
            )
        network.load_state_dict(found)


class FeatureNetwork(nn.Module):
    """The frozen backbone, the fixed mixing and the heads, of which only heads learn."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: str, strides: Sequence[int], size: int, base_channels: int, with_prior: bool
    ) -> None:
        super().__init__()
        self.size = size
        self.backbone, channels, mean, std = _build_backbone(backbone, strides)
        sides = _check_sides(strides, size)
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1))
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1))
        widths = [base_channels * 2**level for level in range(len(strides))]
        mixed = [max(width // 2, base_channels) for width in widths]
        self.channel_mixing = nn.ModuleList(map(_make_mixing, channels, widths))
        self.scale_mixing = nn.ModuleList(map(_make_mixing, widths, mixed))
        self.heads = nn.ModuleList(
            FeatureHead(width, _choose_widths(side, stride, 8 * base_channels), with_prior)
            for width, side, stride in zip(mixed, sides, strides, strict=True)
        )

    def forward(self, img: Tensor, prior_embs: Sequence[Tensor] | None = None) -> Tensor:
        """Score RGB images (N, 3, H, W) in [-1, 1], (N, K), against projected priors (N, 64)."""
        maps = self.extract_maps(img)
        embs: Sequence[Tensor | None] = prior_embs or [None] * len(maps)
        return torch.cat([h(x, e) for h, x, e in zip(self.heads, maps, embs, strict=True)], dim=1)

    def extract_maps(self, img: Tensor) -> list[Tensor]:
        """Compute the mixed feature maps, from fine to coarse."""
        if img.shape[2:] != (self.size, self.size):
            img = functional.interpolate(img, (self.size, self.size), mode='bilinear')
        img = ((img + 1) / 2 - self.mean) / self.std
        maps = self.backbone(img.contiguous(memory_format=torch.channels_last))
        maps = [mix(x) for mix, x in zip(self.channel_mixing, maps, strict=True)]
        mixed: list[Tensor] = []
        for mix, x in zip(reversed(self.scale_mixing), reversed(maps), strict=True):
            # enlarging and a 1x1 convolution commute; in this order it takes a fourth of the work
            x = mix(x + mixed[0] if mixed else x)
            x = functional.interpolate(x, scale_factor=2, mode='bilinear', align_corners=True)
            mixed.insert(0, x)
        return mixed

    def train(self, mode: bool = True) -> 'FeatureNetwork':
        """Set the mode of the heads; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self


class FeatureHead(nn.Module):
    """Halve a feature map by convolutions, then score each position."""

    def __init__(self, in_channels: int, widths: Sequence[int], with_prior: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in widths:
            conv = spectral_norm(nn.Conv2d(in_channels, width, 4, stride=2, padding=1))
            layers += [conv, nn.BatchNorm2d(width), nn.LeakyReLU(0.2, inplace=True)]
            in_channels = width
        self.layers = nn.Sequential(*layers)
        self.decision = spectral_norm(nn.Conv2d(in_channels, 1, KERNEL, bias=False))
        if with_prior:
            self.match = spectral_norm(nn.Conv2d(in_channels, PRIOR_EMB_DIM, KERNEL, bias=False))

    def forward(self, x: Tensor, prior_emb: Tensor | None) -> Tensor:
        """Score a map (N, C, H, W) at each of k positions, (N, k)."""
        x = self.layers(x)
        score = self.decision(x).flatten(1)
        if prior_emb is None:
            return score
        matched = torch.einsum('nchw,nc->nhw', self.match(x).to(prior_emb), prior_emb)
        return score + matched.flatten(1) / PRIOR_EMB_DIM**0.5


class FixedNorm(nn.Module):
    """A batch norm with fixed statistics, which no conversion to ``SyncBatchNorm`` finds.

    Names of entries are those of the norm. timm puts an activation behind some norms.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            self.register_buffer(name, getattr(norm, name).detach())
        self.act = getattr(norm, 'act', nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        stats = self.running_mean, self.running_var, self.weight, self.bias
        return self.act(functional.batch_norm(x, *stats, eps=self.eps))  # type: ignore[arg-type]


def _build_backbone(
    name: str, strides: Sequence[int]
) -> tuple[nn.Module, list[int], tuple[float, ...], tuple[float, ...]]:
    """Build an untrained network that gives maps of the strides; with their channels."""
    import timm  # here, since it takes a second that few runs need

    find_library(f'timm/{name}')
    with seeded(0):
        network: Any = timm.create_model(name, features_only=True)
        known = network.feature_info.reduction()
        if list(strides) != sorted(set(strides).intersection(known)):
            raise ValueError(
                f'strides of FeatureDiscriminator are {tuple(strides)}; timm/{name} has '
                f'{", ".join(map(str, known))}: name some of them, from fine to coarse'
            )
        indices = tuple(known.index(stride) for stride in strides)
        network = timm.create_model(name, features_only=True, out_indices=indices)
    data = timm.data.resolve_model_data_config(network)
    _fix(network)
    network.to(memory_format=torch.channels_last)
    return network, network.feature_info.channels(), data['mean'], data['std']


def _make_mixing(in_channels: int, out_channels: int) -> nn.Module:
    """Make a fixed 1x1 convolution with torch's initial weights, as in the published code."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    _fix(conv)
    return conv


def _flatten(name: str) -> str:
    """Write an entry's name alike in a whole model and in timm's ``features_only`` ones."""
    return name.removeprefix('model.').replace('.', '_')


def _fix(network: nn.Module) -> None:
    """Turn a network's weights into buffers, and its batch norms into fixed ones, in place.

    mmagic lets all parameters of a discriminator learn again after each step of the generator.
    """
    for part in list(network.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(part, name, FixedNorm(child))
    for part in network.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, value.detach())


def _check_sides(strides: Sequence[int], size: int) -> list[int]:
    """Compute the sides of mixed maps, which have half the stride of the backbone's."""
    least = KERNEL // 2 * max(strides)
    if size % max(strides) or size < least:
        raise ValueError(
            f'FeatureDiscriminator sees images of {size} px, but the stride {max(strides)} needs a '
            f'multiple of {max(strides)} from {least} on; set enlarge_to, or leave out that stride'
        )
    return [2 * size // stride for stride in strides]


def _choose_widths(side: int, stride: int, last: int) -> list[int]:
    """List the channels after each halving of a map, which end with ``last``.

    Larger images are halved as often as those of 256 px, as published.
    """
    num = 0
    while side > HEAD_SIZE and HEAD_SIZE * 2**num < 512 // stride:
        side, num = side // 2, num + 1
    return [last // 2 ** min(num - 1 - index, 3) for index in range(num)]
