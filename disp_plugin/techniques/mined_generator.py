"""MineGAN: a small network before a pretrained generator looks for noise that serves the target."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from mmagic.models.editors.biggan.biggan_modules import BigGANConditionBN
from mmagic.models.editors.biggan.biggan_snmodule import SNLinear
from mmagic.registry import MODELS
from mmengine import MessageHub
from mmengine.model import BaseModule
from torch import Tensor, nn

from disp_plugin.models.name_wrapped import name_wrapped
from disp_plugin.models.prior_condition_bn import PriorConditionBN


class Miner(nn.Sequential):
    """The network that turns noise into noise, as wide.

    Two forms are published in github.com/yaxingwang/MineGAN. That of its StyleGANs (styleGAN/ and
    styleGANv2/model.py, class Miner) is two linear layers with a ReLU between them and PyTorch's
    initial weights. That of its BigGAN (BigGAN.py, class Minor) is four linear layers without
    anything between them, spectrally normalized and orthogonal at first: turned normal noise is
    normal noise, so that training begins with the images of the pretrained generator.

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
class MinedGenerator(BaseModule):
    """A pretrained generator behind a miner, in two phases (Wang et al. 2020, arXiv 1912.05270).

    For the first ``mining_iters`` iterations that update the generator the pretrained part computes
    what it did: its weights and the vectors of its spectral norms stay bit for bit. The miner
    learns, and whatever is new, which with priors takes the place of labels: what ``pretrained`` of
    the GAN had no weights for, or, where nothing was loaded, the projection of the prior and the
    scales and shifts of the norms it feeds. Then all learns. As in the published training, running
    statistics of BatchNorm follow the mined images in both phases, and so does StyleGAN2's mean
    style: they are measured, and what is sampled must match what is trained.

    Switched on in a config by ``model=dict(generator=dict(type='MinedGenerator',
    generator='DISPBigGANGenerator', mining_iters=1000))``: options of the generator that it has
    inherited go on to that generator. Distributed runs need ``find_unused_parameters=True`` in
    ``model_wrapper_cfg``.

    What it does not have itself it takes from the generator: ``noise_size``, ``prior_dim``,
    ``get_mean_latent`` and all others. Only a mean style that StyleGAN2 does not keep but computes
    is thus that of noise before the miner. Checkpoints of the generator without a miner load.

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
        'compile_generator': (
            'code that torch compiles while the pretrained part is frozen never lets it learn'
        ),
    }

    def __init__(
        self,
        generator: dict | str | nn.Module,
        mining_iters: int,
        miner: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if mining_iters < 0:
            raise ValueError(f'mining_iters is {mining_iters}; it must be 0 or more')
        config = dict(type=generator) if isinstance(generator, str) else generator
        is_built = isinstance(config, nn.Module)
        built: Any = config if is_built else MODELS.build(config, default_args=kwargs)
        self.generator = built
        self.mining_iters = mining_iters
        options = {'linear': not self._is_styled, **(miner or {})}
        self.miner = Miner(self.noise_size, **options)
        # updates that were begun; in the checkpoint, so that a resumed run knows its phase
        self.register_buffer('mined_updates', torch.zeros((), dtype=torch.long))
        self._last_iter: int | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if 'generator' not in self.__dict__.get('_modules', {}):
                raise
            return getattr(self._modules['generator'], name)

    @property
    def _is_styled(self) -> bool:
        return hasattr(self.generator, 'style_mapping')

    def forward(
        self,
        noise: Any = None,
        *args: Any,
        num_batches: int = 0,
        return_noise: bool = False,
        **kwargs: Any,
    ) -> Tensor | dict:
        """Generate images from mined noise.

        Args:
            noise (Tensor | list[Tensor] | callable | None): (N, Z) noise, two of them to mix their
                styles, a function of a shape that draws it, or None to draw it here.
                Defaults to None.
            *args: Further arguments of the generator, as the prior or the label.
            num_batches (int): N, needed where noise is drawn. Defaults to 0.
            return_noise (bool): Whether to return a dict that holds the noise too, as it was
                before the miner. Defaults to False.
            **kwargs: Further arguments of the generator. ``truncation`` of SNGAN and BigGAN clamps
                the noise before the miner.

        Returns:
            Tensor | dict: As the generator's.
        """
        if self.training and next(self.miner.parameters()).requires_grad:
            self._enter_phase()
        if not isinstance(noise, Tensor | list | tuple):
            noise = (noise or torch.randn)((num_batches, self.noise_size))
        truncation = None if self._is_styled else kwargs.pop('truncation', None)
        if truncation is not None and truncation >= 0:
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

    def mine(self, noise: Any) -> Any:
        """Turn noise into what the generator is given.

        Args:
            noise (Tensor | list[Tensor]): (N, Z), or several.

        Returns:
            Tensor | list[Tensor]: The same, on the generator's device.
        """
        if not isinstance(noise, Tensor):
            return [self.mine(part) for part in noise]
        return self.miner(noise.to(self.mined_updates.device))

    def _enter_phase(self) -> None:
        """Count this update, and let the pretrained part learn or not.

        Not by the constructor: a distributed wrapper and an optimizer pass over parameters that
        need no gradient when they are built.
        """
        if torch.is_grad_enabled():
            iteration = MessageHub.get_current_instance().get_info('iter')
            if iteration is None or iteration != self._last_iter:
                self.mined_updates += 1
            self._last_iter = iteration
        learns = bool(self.mined_updates > self.mining_iters)
        for module, name, parameter in self._list_pretrained():
            parameter.requires_grad_(learns)
            if name.startswith('weight') and _has_spectral_norm(module):
                module.train(learns)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        own = ('generator.', 'miner.', 'mined_updates')
        name_wrapped(state_dict, prefix, 'generator', own)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _list_pretrained(self) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
        """Go through the parameters of the pretrained part, with their modules."""
        loaded = getattr(self.generator, 'loaded_names', None)
        new = () if loaded is not None else self._find_condition()
        for path, module in self.generator.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                full = f'{path}.{name}' if path else name
                if module not in new if loaded is None else full in loaded:
                    yield module, name, parameter

    def _find_condition(self) -> set[nn.Module]:
        """Find what feeds a prior, or in a self-modulated baseline the noise, to the norms."""
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
    """Tell of either kind, torch's and BigGAN-PyTorch's."""
    return hasattr(module, 'weight_u') or hasattr(module, 'u0')
