"""One discriminator step, one generator step and sampling, with a prior in the place of a label."""

import functools
import logging
from typing import Any, ClassVar

import torch
from mmagic.registry import MODELS
from mmengine import MessageHub
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.nn import functional

from .image_size import check_sizes_agree, with_size
from .pretrained import load_pretrained
from .prior_normalizer import PriorNormalizer
from .prior_sampling import PriorSampling

# The paper's three losses (its Table 10) by their names in mmagic's GANLoss.
GAN_TYPES = {'hinge': 'hinge', 'non_saturating': 'vanilla', 'wasserstein': 'wgan'}


class DISPGAN(PriorSampling):
    r"""What makes one of mmagic's GANs a DISP GAN: equations (2) and (3) of the method.

    A subclass names it before the host's class. Real and fake images of one step are scored against
    the priors of the same real images,

    .. math::
        L_D &= E_x[\max(0, 1 - D(x, C(x)))] + E_{x,z}[\max(0, 1 + D(G(z|C(x)), C(x)))] \\
        L_G &= -E_{x,z}[D(G(z|C(x)), C(x))]

    for the hinge loss. The encoder C is frozen and is not part of the model: priors come with the
    batch, from the bank. Where images are sampled, priors come from :attr:`sampler`.

    Args:
        generator (dict | nn.Module): A generator that takes a prior, or its config.
        discriminator (dict | nn.Module, optional): A discriminator that takes a prior, or its
            config. Defaults to None, for a model that only samples.
        prior_dim (int): D, length of a prior; 0 for the unconditional, self-modulated baseline.
        data_preprocessor (dict, optional): As in mmagic. Defaults to None.
        generator_steps (int): As in mmagic. Defaults to 1.
        discriminator_steps (int): Updates of D for each of G. Defaults to 1.
        noise_size (int, optional): Z, length of the noise. Defaults to None: the generator's own.
        ema_config (dict, optional): Moving average of the generator, as in mmagic.
            Defaults to None.
        prior_norm (str): How priors are normalized, see :class:`PriorNormalizer`.
            Defaults to 'none', as in the paper.
        prior_length (float, optional): Length of normalized priors, the strength of the condition.
            Defaults to None: the square root of ``prior_dim``.
        sampler (dict | nn.Module, optional): Where priors of new images come from, or its config.
            Defaults to None: each call must bring priors.
        loss (str): 'hinge', 'non_saturating' or 'wasserstein'. Defaults to 'hinge'.
        disc_losses (dict[str, dict], optional): Further losses of D by names of choice, as
            ``dict(consistency=dict(type='ConsistencyRegularization', loss_weight=10.0))``; None in
            the place of one turns it off. Defaults to None.
        gen_losses (dict[str, dict], optional): The same for G. Defaults to None.
        image_size (int, optional): Height and width of images in pixels, handed to the networks
            that do not state it. Defaults to None: both networks state it.
        per_image (bool): Whether the prior of a training image is its own unit vector, so that
            G_emb and D_emb hold one embedding for each image: the paper's few-shot baseline.
            ``prior_dim`` is then the number of training images, and no bank is read.
            Defaults to False.
        per_image_scale (float): Length of those vectors. To compare at the same strength of the
            condition, give the mean length of the priors. Defaults to 1.0.
        pretrained (dict, optional): ``dict(checkpoint=...)``: a checkpoint to start from, a file or
            a name of mmagic's zoo, see :func:`load_pretrained`. Defaults to None.
        channels_last (bool): Whether the networks keep their weights in that memory format, which
            convolutions on recent GPUs take faster. Defaults to False.
        compile_generator (bool | dict): Whether the generator that is trained is compiled by
            torch, or the arguments of ``torch.compile``. The discriminator is not: its spectral
            norm changes weights between the two passes of a step, which compiled code cannot
            differentiate. Defaults to False.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.

    Raises:
        ValueError: The loss is unknown, the networks have another ``prior_dim`` or ``image_size``,
            or they cannot be compiled or take another memory format.
    """

    # Options that a host's networks cannot take, with the reason.
    UNSUPPORTED: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        generator: dict | nn.Module,
        discriminator: dict | nn.Module | None = None,
        *,
        prior_dim: int,
        data_preprocessor: dict | None = None,
        generator_steps: int = 1,
        discriminator_steps: int = 1,
        noise_size: int | None = None,
        ema_config: dict | None = None,
        prior_norm: str = 'none',
        prior_length: float | None = None,
        sampler: dict | nn.Module | None = None,
        loss: str = 'hinge',
        disc_losses: dict[str, dict | None] | None = None,
        gen_losses: dict[str, dict | None] | None = None,
        image_size: int | None = None,
        per_image: bool = False,
        per_image_scale: float = 1.0,
        pretrained: dict | None = None,
        channels_last: bool = False,
        compile_generator: bool | dict = False,
        num_classes: int | None = None,
    ) -> None:
        if loss not in GAN_TYPES:
            raise ValueError(f'loss is {loss!r}; it must be one of {", ".join(GAN_TYPES)}')
        options = dict(channels_last=channels_last, compile_generator=compile_generator)
        _check_supported(self, options)
        if not isinstance(prior_dim, int):
            raise ValueError(
                f'prior_dim is {prior_dim!r}; it must be the length of a prior, the number of '
                'training images where per_image=True, or 0 for no prior'
            )
        defaults: dict[str, Any] = {'prior_dim': prior_dim}
        discriminator = _build(with_size(discriminator, image_size), defaults, channels_last)
        if noise_size is not None:
            defaults['noise_size'] = noise_size
        generator = _build(with_size(generator, image_size), defaults, channels_last)
        self_size = check_sizes_agree(generator, discriminator)
        _check_supported(generator, options)
        super().__init__(
            generator,
            discriminator,
            data_preprocessor,
            generator_steps,
            discriminator_steps,
            ema_config=ema_config,
            **self._host_arguments(generator),
        )
        self.noise_size = getattr(generator, 'noise_size', None)
        self.image_size = self_size
        if compile_generator:
            self.generator.compile(**compile_generator if compile_generator is not True else {})
        self._accumulation = 1
        self.prior_dim = prior_dim
        self.prior_normalizer = PriorNormalizer(prior_dim, prior_norm, length=prior_length)
        self.per_image, self.per_image_scale = per_image, per_image_scale
        if per_image and prior_norm not in ('none', 'l2'):
            raise ValueError(
                f"prior_norm is {prior_norm!r}, but per_image=True takes 'none' or 'l2' only: the "
                'others are fitted to a bank, and there is none'
            )
        if isinstance(sampler, dict):
            rows = dict(num_images=prior_dim, scale=per_image_scale) if per_image else {}
            sampler = MODELS.build(sampler, default_args=rows)
        self.sampler = sampler
        self.pretrained = pretrained
        self._init_loss(
            dict(
                gan_loss=dict(type='GANLoss', gan_type=GAN_TYPES[loss]),
                disc_auxiliary_loss=list_losses(disc_losses, 'disc_losses'),
                gen_auxiliary_loss=list_losses(gen_losses, 'gen_losses'),
            )
        )
        for auxiliary in self.gen_auxiliary_losses or ():
            if hasattr(auxiliary, 'check_generator'):
                auxiliary.check_generator(self.generator)
        # A prior is no image. mmagic would extend the list of its class, for every model there is.
        preprocessor = self.data_preprocessor
        if hasattr(preprocessor, '_NON_IMAGE_KEYS'):
            preprocessor._NON_IMAGE_KEYS = [*preprocessor._NON_IMAGE_KEYS, 'prior']

    def _host_arguments(self, generator: Any) -> dict[str, Any]:
        """Give the host's constructor what not every host takes."""
        # With split noise BigGAN rounds noise_size down to a multiple of its chunks.
        return {'noise_size': getattr(generator, 'noise_size', None)}

    @staticmethod
    def _get_valid_num_classes(*args: Any) -> None:
        return None

    def init_weights(self) -> None:
        """Initialize the weights, then load those of ``pretrained`` where it is given."""
        for module in self.modules():
            # Spectral norm keeps `weight`, which initialization writes to, as another name of
            # `weight_orig`; a model that was moved to a device has two tensors there.
            if isinstance(getattr(module, 'weight_orig', None), nn.Parameter):
                module.weight = module.weight_orig.data
        super().init_weights()
        if self.pretrained is not None:
            load_pretrained(self, **self.pretrained)
            return
        tuning = {
            'model.discriminator.freeze': getattr(self.discriminator, 'freeze', None),
            'model.generator.mining_iters': getattr(self.generator, 'mining_iters', None),
        }
        for field in (field for field, value in tuning.items() if value is not None):
            print_log(
                f'{field} is given without model.pretrained: unless load_from or --resume brings '
                'weights, random ones are kept, and spectral norms that have not converged',
                'current',
                logging.WARNING,
            )

    def data_sample_to_prior(self, data_samples: Any) -> Tensor | None:
        """Take the priors of a batch of real images.

        Args:
            data_samples (DataSample): Stacked samples with ``gt_prior`` (N, D).

        Returns:
            Tensor | None: (N, D) normalized priors; None if ``prior_dim`` is 0.

        Raises:
            ValueError: The samples carry no prior.
        """
        if self.prior_dim == 0:
            return None
        if self.per_image:
            return self.condition(self._one_hot(data_samples.sample_idx))
        if 'gt_prior' not in data_samples:
            raise ValueError(
                "the batch carries no 'gt_prior': give train_dataloader.dataset.bank_file, or, for "
                "a data set of another type, dict(type='LoadPrior', bank_file=...) in its pipeline "
                "and PackInputs(..., data_keys=['gt_prior'])"
            )
        return self.condition(data_samples.gt_prior)

    def _one_hot(self, rows: Any) -> Tensor:
        """Make the priors of the per-image baseline of rows of the training set."""
        rows = torch.as_tensor(rows, device=self.device).flatten()
        if int(rows.max()) >= self.prior_dim:
            raise ValueError(
                f'per_image=True has prior_dim={self.prior_dim}, but image {int(rows.max())} came; '
                'set prior_dim to the number of training images'
            )
        return functional.one_hot(rows, self.prior_dim).float() * self.per_image_scale

    def train_step(self, data: dict, optim_wrapper: Any) -> dict[str, Tensor]:
        """Run one training step; lazy regularizers receive the update index.

        Args:
            data (dict): A batch as the data loader gives it.
            optim_wrapper (OptimWrapperDict): Those of generator and discriminator.

        Returns:
            dict[str, Tensor]: What is logged.
        """
        # Batches of one update: a regularizer is due for all of them or for none.
        self._accumulation = optim_wrapper['discriminator']._accumulative_counts
        return super().train_step(data, optim_wrapper)

    def train_discriminator(
        self, inputs: dict, data_samples: Any, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Update the discriminator once.

        Args:
            inputs (dict): Not used; images come in ``data_samples``, as in mmagic's BigGAN.
            data_samples (DataSample): Stacked ``gt_img`` (N, 3, H, W) and ``gt_prior`` (N, D).
            optimizer_wrapper (OptimWrapper): The discriminator's.

        Returns:
            dict[str, Tensor]: What is logged: losses, and the mean score of real and fake images.
        """
        real_imgs = data_samples.gt_img
        prior = self.data_sample_to_prior(data_samples)
        num_batches = len(real_imgs)
        noise = self.training_noise(num_batches)
        with torch.no_grad():
            fake_imgs = self.generator(noise=noise, prior=prior, return_noise=False)
        disc_pred_fake = self.discriminator(fake_imgs, prior)
        disc_pred_real = self.discriminator(real_imgs, prior)
        loss, log_vars = self._get_disc_loss(
            dict(
                **self._outputs(prior, num_batches, optimizer_wrapper),
                disc_pred_fake=disc_pred_fake,
                disc_pred_real=disc_pred_real,
                fake_imgs=fake_imgs,
                real_imgs=real_imgs,
                step=_iteration() // self._accumulation,
            )
        )
        optimizer_wrapper.update_params(loss)
        log_vars['score_fake'] = disc_pred_fake.detach().mean()
        log_vars['score_real'] = disc_pred_real.detach().mean()
        return log_vars

    def train_generator(
        self, inputs: dict, data_samples: Any, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Update the generator once, with the priors of the last batch.

        Args:
            inputs (dict): Not used.
            data_samples (DataSample): Stacked ``gt_img`` (N, 3, H, W) and ``gt_prior`` (N, D).
            optimizer_wrapper (OptimWrapper): The generator's.

        Returns:
            dict[str, Tensor]: What is logged.
        """
        prior = self.data_sample_to_prior(data_samples)
        num_batches = len(data_samples.gt_img)
        noise = self.training_noise(num_batches)
        fake_imgs = self.generator(noise=noise, prior=prior, return_noise=False)
        loss, log_vars = self._get_gen_loss(
            dict(
                **self._outputs(prior, num_batches, optimizer_wrapper),
                fake_imgs=fake_imgs,
                disc_pred_fake_g=self.discriminator(fake_imgs, prior),
                step=_iteration() // (self.discriminator_steps * self._accumulation),
            )
        )
        optimizer_wrapper.update_params(loss)
        return log_vars

    def training_noise(self, num_batches: int) -> Any:
        """Draw the noise of a training step.

        Args:
            num_batches (int): N.

        Returns:
            Tensor | list[Tensor]: What the generator takes as noise; here (N, Z).
        """
        return self.noise_fn(num_batches=num_batches)

    def _get_disc_loss(self, out_dict: dict[str, Any]) -> Any:
        # What adaptive augmentation is steered by; not a thing for checkpoints.
        hub = MessageHub.get_current_instance()
        hub.update_info('disc_pred_real', out_dict['disc_pred_real'].detach(), resumed=False)
        return super()._get_disc_loss(out_dict)

    def _outputs(
        self, prior: Tensor | None, num_batches: int, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Any]:
        """Give auxiliary losses the networks as functions that bring the priors themselves.

        mmagic's penalties call a network with images or noise and nothing else.
        """

        def generate(noise: Any = None, num_batches: int = num_batches, **kwargs: Any) -> Any:
            noise = self.training_noise(num_batches) if noise is None else noise
            part = None if prior is None else prior[:num_batches]
            return self.generator(noise, prior=part, **kwargs)

        return dict(
            gen=generate,
            disc=functools.partial(self.discriminator, prior=prior),
            batch_size=num_batches,
            loss_scaler=getattr(optimizer_wrapper, 'loss_scaler', None),
        )


def _check_supported(part: Any, options: dict[str, Any]) -> None:
    """Refuse options of the model that it, or its generator, says that it cannot take."""
    reasons = getattr(part, 'UNSUPPORTED', {})
    for name in (name for name, value in options.items() if value and name in reasons):
        raise ValueError(
            f'{type(part).__name__} takes no {name}: {reasons[name]}; leave model.{name} out'
        )


def _build(network: Any, defaults: dict[str, Any], channels_last: bool) -> Any:
    """Build a network, see that it takes the model's priors, and lay its weights out."""
    if network is None:
        return None
    if isinstance(network, dict):
        network = MODELS.build(network, default_args=defaults)
    prior_dim = defaults['prior_dim']
    if getattr(network, 'prior_dim', None) != prior_dim:
        raise ValueError(
            f'prior_dim of the model is {prior_dim} but that of its '
            f'{type(network).__name__} is {getattr(network, "prior_dim", "missing")}'
        )
    return network.to(memory_format=torch.channels_last) if channels_last else network


def list_losses(losses: dict[str, dict | None] | None, name: str) -> list[dict]:
    """List the configs of named losses, leaving out those turned off.

    Args:
        losses (dict[str, dict], optional): Config of a loss, or None, by name.
        name (str): What the field is called, for the message.

    Returns:
        list[dict]: What mmagic's ``BaseGAN`` takes for auxiliary losses.

    Raises:
        ValueError: One has no ``type``.
    """
    for key, loss in (losses or {}).items():
        if loss is not None and 'type' not in loss:
            raise ValueError(f"model.{name}.{key} has no 'type'; give it the type of a loss")
    return [dict(loss) for loss in (losses or {}).values() if loss is not None]


def _iteration() -> int:
    """Number of iterations done, as mmengine's loop keeps it; 0 outside of a run."""
    hub = MessageHub.get_current_instance()
    return hub.get_info('iter') or 0
