"""mmagic's StyleGAN2, trained and sampled with priors."""

import random
from typing import Any, ClassVar

from mmagic.models.editors.stylegan2 import StyleGAN2
from mmagic.registry import MODELS
from mmengine import MessageHub
from torch import Tensor, nn

from .disp_gan import DISPGAN

# Fields of mmagic's loss_config, and the arguments of our regularisers that they give.
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

    Non-saturating loss, lazy R1 and path-length regularisation, and style mixing, all with the
    priors of the batch. Both styles of a mixture have the image's own prior.

    Args:
        generator (dict | nn.Module): A :class:`DISPStyleGAN2Generator`, or its config.
        discriminator (dict | nn.Module, optional): As in :class:`DISPGAN`. Defaults to None.
        loss (str): As in :class:`DISPGAN`. Defaults to 'non_saturating'.
        loss_config (dict, optional): mmagic's fields ``r1_loss_weight``, ``r1_interval``,
            ``norm_mode``, ``g_reg_weight``, ``g_reg_interval`` and ``pl_batch_shrink``, each 0 of
            a weight to turn a regulariser off; others as in :class:`DISPGAN`. Defaults to None:
            mmagic's weights and intervals for StyleGAN2.
        **kwargs: Further arguments of :class:`DISPGAN`.
    """

    UNSUPPORTED: ClassVar[dict[str, str]] = {
        'channels_last': 'the weights of its modulated convolutions have five dimensions',
        'compile_generator': (
            'its path-length regularisation differentiates the generator twice, and code that '
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
        **kwargs: Any,
    ) -> None:
        super().__init__(
            generator, discriminator, loss=loss, loss_config=loss_config or {}, **kwargs
        )
        # The regulariser keeps it.
        del self.mean_path_length
        built: Any = self.generator
        mixes = built._default_style_mode == 'mix'
        self.mix_prob = built.mix_prob if mixes else 0.0

    def _host_arguments(self, generator: Any) -> dict[str, Any]:
        return {}

    def _init_loss(self, loss_config: dict | None = None) -> None:
        config = dict(loss_config or {})
        r1 = {ours: config.pop(name) for name, ours in R1_FIELDS.items() if name in config}
        path = {ours: config.pop(name) for name, ours in PATH_FIELDS.items() if name in config}
        auxiliary = {
            'disc_auxiliary_loss': dict(type='R1GradientPenalty', **r1),
            'gen_auxiliary_loss': dict(type='GeneratorPathRegularizer', **path),
        }
        for name, regularizer in auxiliary.items():
            more = config.get(name) or []
            config[name] = [regularizer, *(more if isinstance(more, list) else [more])]
        super()._init_loss(config)

    def training_noise(self, num_batches: int) -> Tensor | list[Tensor]:
        """Draw noise, and a second one for style mixing with the generator's ``mix_prob``.

        Args:
            num_batches (int): N.

        Returns:
            Tensor | list[Tensor]: (N, Z), or two of them.
        """
        noise = self.noise_fn(num_batches=num_batches)
        if random.random() < self.mix_prob:
            return [noise, self.noise_fn(num_batches=num_batches)]
        return noise

    def _get_disc_loss(self, out_dict: dict[str, Any]) -> Any:
        # What mmagic's adaptive augmentation is steered by; not a thing for checkpoints.
        hub = MessageHub.get_current_instance()
        hub.update_info('disc_pred_real', out_dict['disc_pred_real'].detach(), resumed=False)
        return super()._get_disc_loss(out_dict)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str | None = None) -> list:
        """Sample images, the noise inside the generator held fixed.

        So an image depends on its noise and prior alone; ``sample_kwargs=dict(randomize_noise=
        True)`` draws that noise anew for each image, as in training.

        Args:
            inputs (dict | Tensor): As in :class:`DISPGAN`; of ``sample_kwargs``, ``truncation`` is
                StyleGAN2's psi, in [0, 1].
            data_samples (optional): As in mmagic. Defaults to None.
            mode (str, optional): Not used, as in mmagic. Defaults to None.

        Returns:
            list[DataSample]: As in :class:`DISPGAN`.
        """
        inputs = dict(noise=inputs) if isinstance(inputs, Tensor) else dict(inputs)
        sample_kwargs = dict(inputs.get('sample_kwargs') or {})
        inputs['sample_kwargs'] = {'randomize_noise': False, **sample_kwargs}
        return super().forward(inputs, data_samples, mode)
