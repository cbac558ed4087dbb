"""MineGAN: a small network before a pretrained generator learns which noise to feed it."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import torch
from mmagic.models.editors.biggan.biggan_modules import BigGANConditionBN
from mmagic.models.editors.biggan.biggan_snmodule import SNLinear
from mmagic.registry import MODELS
from mmengine import MessageHub
from torch import Tensor, nn

from disp_plugin.models.generators import GeneratorWrapper, has_styles
from disp_plugin.models.prior_modules import PriorConditionBN

Noise = Tensor | list[Tensor] | Callable[[tuple[int, ...]], Tensor] | None
"""(N, Z) noise, two of them to mix their styles, a function of a shape, or None."""


class Miner(nn.Sequential):
    """Turn noise into noise of the same length.

    Two forms are published in github.com/yaxingwang/MineGAN. For its StyleGANs (styleGAN/ and
    styleGANv2/model.py, class Miner) it is two linear layers with a ReLU between them and PyTorch's
    initial weights. For its BigGAN (BigGAN.py, class Minor) it is four linear layers without
    anything between them, spectrally normalized and orthogonal at first: rotated normal noise is
    normal noise, so training begins with the images of the pretrained generator.

    Args:
        noise_size (int): Z, length of the noise.
        num_layers (int, optional): Linear layers. Defaults to None: 4 if ``linear``, else 2.
        linear (bool): Whether it has the form of MineGAN's BigGAN. Defaults to False.

    Raises:
        ValueError: ``num_layers`` is below 1.
    """

    def __init__(
        self, noise_size: int, num_layers: int | None = None, linear: bool = False
    ) -> None:
        num_layers = (4 if linear else 2) if num_layers is None else num_layers
        if num_layers < 1:
            raise ValueError(f'num_layers of a Miner is {num_layers}; it must be 1 or more')
        layers: list[nn.Module] = []
        for index in range(num_layers):
            if linear:
                layer = SNLinear(noise_size, noise_size)
                nn.init.orthogonal_(layer.weight)
                layers.append(layer)
            else:
                layers += [nn.ReLU()] * (index > 0)
                layers.append(nn.Linear(noise_size, noise_size))
        super().__init__(*layers)


@MODELS.register_module()
class MinedGenerator(GeneratorWrapper):
    """A pretrained generator behind a miner, in two phases (Wang et al. 2020, arXiv 1912.05270).

    For the first ``mining_iters`` iterations that update the generator the pretrained part is
    frozen: its weights and the vectors of its spectral norms stay bit for bit. The miner learns,
    and so does whatever is new, which with priors replaces labels: what ``pretrained`` of the GAN
    had no weights for, or, where nothing was loaded, the projection of the prior and the scales and
    shifts of the norms it feeds. Then all learns. As in the published training, running statistics
    of BatchNorm follow the mined images in both phases, and so does StyleGAN2's mean style: they
    are measured, and what is sampled must match what is trained.

    A config switches it on by ``model=dict(mining_iters=300)``, for any of this package's GANs. In
    mmagic's own GANs write ``generator=dict(type='MinedGenerator', generator='BigGANGenerator',
    mining_iters=300)``; the generator's other options stay beside these. Distributed runs need
    ``find_unused_parameters=True`` in ``model_wrapper_cfg``. Only a mean style that StyleGAN2 does
    not keep but computes is that of noise before the miner.

    Args:
        generator (dict | str | nn.Module): The generator, a DISP one or one of mmagic's with or
            without classes; its config, or its type.
        mining_iters (int): Iterations of the first phase, of those that update the generator; the
            published default is 100 (styleGAN/finetune.py, ``--stage1``).
        miner (dict, optional): Arguments of :class:`Miner`. Defaults to None: ``linear`` but for
            StyleGAN2, as published.
        **kwargs: Further options of the generator, for those that its config lacks.

    Raises:
        ValueError: ``mining_iters`` is negative.
    """

    mined_updates: Tensor
    UNSUPPORTED: ClassVar[dict[str, str]] = {
        'compile_networks': (
            'code that torch compiles while the pretrained part is frozen never lets it learn'
        ),
    }

    def __init__(
        self,
        generator: dict | str | nn.Module,
        mining_iters: int,
        miner: dict | None = None,
        **kwargs: object,
    ) -> None:
        if mining_iters < 0:
            raise ValueError(f'mining_iters is {mining_iters}; it must be 0 or more')
        super().__init__(generator, **kwargs)
        self.mining_iters = mining_iters
        options = {'linear': not has_styles(self.generator), **(miner or {})}
        self.miner = Miner(self.noise_size, **options)
        # updates that were begun; in the checkpoint, so that a resumed run knows its phase
        self.register_buffer('mined_updates', torch.zeros((), dtype=torch.long))
        self._num_updates = 0  # the same, for which no step waits for a GPU
        self._last_iter: int | None = None

    def forward(
        self,
        noise: Noise = None,
        *args: object,
        num_batches: int = 0,
        return_noise: bool = False,
        **kwargs: object,
    ) -> Tensor | dict:
        """Generate images from mined noise.

        Args:
            noise (Tensor | list[Tensor] | callable | None): (N, Z) noise, two of them to mix their
                styles, a function of a shape that draws it, or None to draw it here.
                Defaults to None.
            *args: Further arguments of the generator, as the prior or the label.
            num_batches (int): N, needed where noise is drawn. Defaults to 0.
            return_noise (bool): Whether to return a dict that also holds the noise before the
                miner. Defaults to False.
            **kwargs: Further arguments of the generator. ``truncation`` of SNGAN and BigGAN clamps
                the noise before the miner.

        Returns:
            Tensor | dict: As the generator's.
        """
        if self.training and next(self.miner.parameters()).requires_grad:
            self._enter_phase()
        if not isinstance(noise, Tensor | list | tuple):
            noise = (noise or torch.randn)((num_batches, self.noise_size))
        truncation = -1.0
        if not has_styles(self.generator):
            truncation = cast('float', kwargs.pop('truncation', truncation))
        if truncation >= 0 and isinstance(noise, Tensor):
            noise = noise.clamp(-truncation, truncation)
        is_latent = kwargs.get('input_is_latent', False)
        mined = noise if is_latent else self.mine(noise)
        num_images = len(mined if isinstance(mined, Tensor) else mined[0])
        out = self.generator(
            mined, *args, num_batches=num_images, return_noise=return_noise, **kwargs
        )
        if isinstance(out, dict) and 'noise_batch' in out:
            out['noise_batch'] = noise
        return out

    def mine(self, noise: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        """Turn noise (N, Z), or each of several, into the generator's input, on its device."""
        device = self.mined_updates.device
        if isinstance(noise, Tensor):
            return self.miner(noise.to(device))
        return [self.miner(part.to(device)) for part in noise]

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._num_updates = int(self.mined_updates)

    def _enter_phase(self) -> None:
        """Count this update; freeze the pretrained part in the first phase, then unfreeze it.

        The constructor cannot do so: a distributed wrapper and an optimizer skip parameters that
        need no gradient when they are built.
        """
        if torch.is_grad_enabled():
            iteration = MessageHub.get_current_instance().get_info('iter')
            if iteration is None or iteration != self._last_iter:
                self._num_updates += 1
                self.mined_updates += 1
            self._last_iter = iteration
        learns = self._num_updates > self.mining_iters
        for module, name, parameter in self._list_pretrained():
            parameter.requires_grad_(learns)
            if name.startswith('weight') and _has_spectral_norm(module):
                module.train(learns)

    def _list_pretrained(self) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
        """Yield the parameters of the pretrained part, with their modules and names."""
        loaded = self.loaded_names
        new = () if loaded is not None else self._find_condition()
        for path, module in self.generator.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                full = f'{path}.{name}' if path else name
                if module not in new if loaded is None else full in loaded:
                    yield module, name, parameter

    def _find_condition(self) -> set[nn.Module]:
        """Return the modules that feed a prior, or self-modulating noise, to the norms."""
        if getattr(self.generator, 'prior_dim', None) is None:
            return set()
        parts = [
            module
            for path, module in self.generator.named_modules()
            if path == 'prior_projection'
            or isinstance(module, PriorConditionBN | BigGANConditionBN)
        ]
        return {module for part in parts for module in part.modules()}


def _has_spectral_norm(module: nn.Module) -> bool:
    """Return whether a layer has a spectral norm of torch's or BigGAN-PyTorch's kind."""
    return hasattr(module, 'weight_u') or hasattr(module, 'u0')
