"""mmagic's StyleGAN2, trained and sampled with priors."""

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from mmagic.models.editors.stylegan2 import StyleGAN2
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from torch import Tensor, nn

from .disp_gan import DISPGAN

# Fields of mmagic's loss_config, and the arguments of our regularizers that they give.
R1_FIELDS = {
    'r1_loss_weight': 'loss_weight',
    'r1_interval': 'interval',
    'norm_mode': 'norm_mode',
}
PATH_FIELDS = {
    'g_reg_weight': 'loss_weight',
    'g_reg_interval': 'interval',
    'pl_batch_shrink': 'pl_batch_shrink',
}


@MODELS.register_module()
class DISPStyleGAN2(DISPGAN, StyleGAN2):
    """StyleGAN2 with Data InStance Priors; see :class:`DISPGAN` for its arguments.

    Non-saturating loss, lazy R1 and path-length regularization, and style mixing, all with the
    priors of the batch. Both styles of a mixture have the image's own prior.

    Args:
        generator (dict | nn.Module): A :class:`DISPStyleGAN2Generator`, or its config.
        discriminator (dict | nn.Module, optional): As in :class:`DISPGAN`. Defaults to None.
        loss (str): As in :class:`DISPGAN`. Defaults to 'non_saturating'.
        loss_config (dict, optional): mmagic's fields ``r1_loss_weight``, ``r1_interval``,
            ``norm_mode``, ``g_reg_weight``, ``g_reg_interval`` and ``pl_batch_shrink``, for configs
            that inherit mmagic's. Defaults to None: mmagic's weights and intervals.
        disc_losses (dict[str, dict], optional): As in :class:`DISPGAN`; ``r1`` is there by itself,
            ``dict(r1=dict(loss_weight=8.0))`` changes it and ``dict(r1=None)`` turns it off.
            Defaults to None.
        gen_losses (dict[str, dict], optional): The same, with ``path_length``. Defaults to None.
        **kwargs: Further arguments of :class:`DISPGAN`.

    Raises:
        ValueError: ``loss_config`` has a field that nothing reads.
    """

    UNSUPPORTED: ClassVar[dict[str, str]] = {
        'score_jointly': 'its discriminator compares the images of a batch with each other',
        'compile_networks': (
            'its path-length regularization differentiates the generator twice, and code that '
            'torch compiles can be differentiated once'
        ),
    }

    def __init__(
        self,
        generator: dict | nn.Module,
        discriminator: dict | nn.Module | None = None,
        *,
        loss: str = 'non_saturating',
        loss_config: dict | None = None,
        disc_losses: dict[str, dict | None] | None = None,
        gen_losses: dict[str, dict | None] | None = None,
        **kwargs: Any,
    ) -> None:
        config, disc_losses, gen_losses = map(
            dict, (loss_config or {}, disc_losses or {}, gen_losses or {})
        )
        r1 = _take_fields(config, R1_FIELDS, 'R1GradientPenalty', disc_losses.pop('r1', {}))
        path = _take_fields(
            config, PATH_FIELDS, 'GeneratorPathRegularizer', gen_losses.pop('path_length', {})
        )
        if config:
            raise ValueError(
                f'loss_config of DISPStyleGAN2 has no field {", ".join(config)}; it has '
                f'{", ".join([*R1_FIELDS, *PATH_FIELDS])}'
            )
        super().__init__(
            generator,
            discriminator,
            loss=loss,
            disc_losses={'r1': r1, **disc_losses},
            gen_losses={'path_length': path, **gen_losses},
            **kwargs,
        )
        # The regularizer keeps it.
        del self.mean_path_length
        built: Any = self.generator
        mixes = built._default_style_mode == 'mix'
        self.mix_prob = built.mix_prob if mixes else 0.0

    def _host_arguments(self, generator: nn.Module) -> dict[str, object]:
        return {}

    def training_noise(self, num_batches: int) -> Tensor | list[Tensor]:
        """Draw noise (N, Z), twice where styles are mixed, with the generator's ``mix_prob``."""
        noise = self.noise_fn(num_batches=num_batches)
        if random.random() < self.mix_prob:
            return [noise, self.noise_fn(num_batches=num_batches)]
        return noise

    def forward(
        self,
        inputs: Mapping | Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str | None = None,
    ) -> list[DataSample]:
        """Sample images as :class:`DISPGAN` does, with fixed noise inside the generator.

        So an image depends on its noise and prior alone; ``sample_kwargs=dict(randomize_noise=
        True)`` draws that noise anew for each image, as in training. ``truncation`` in
        ``sample_kwargs`` is StyleGAN2's psi.

        Raises:
            ValueError: ``truncation`` is not in [0, 1].
        """
        inputs = dict(noise=inputs) if isinstance(inputs, Tensor) else dict(inputs)
        sample_kwargs = dict(inputs.get('sample_kwargs') or {})
        truncation = sample_kwargs.get('truncation', 1.0)
        if not 0 <= truncation <= 1:
            raise ValueError(
                f"truncation is {truncation}; a StyleGAN2's must be in [0, 1]: 1 leaves styles as "
                'they are, 0 makes all the mean style'
            )
        inputs['sample_kwargs'] = {'randomize_noise': False, **sample_kwargs}
        return super().forward(inputs, data_samples, mode)


def _take_fields(
    config: dict, fields: dict[str, str], kind: str, given: dict | None
) -> dict | None:
    """Merge mmagic's fields into the config of a regularizer; None stays None."""
    taken = {ours: config.pop(field) for field, ours in fields.items() if field in config}
    return None if given is None else {'type': kind, **taken, **given}
