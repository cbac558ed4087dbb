"""GANs that take a prior in place of a label: sampling, one step of D, one step of G."""

import functools
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from mmagic.models.base_models import BaseGAN, ExponentialMovingAverage
from mmagic.models.editors.biggan import BigGAN
from mmagic.models.editors.sagan import SAGAN
from mmagic.models.utils import get_valid_num_batches
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine import MessageHub
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from disp_plugin.priors import PriorBank

from .discriminators import DiscriminatorWrapper
from .fast_convolutions import fuse_convolutions, keep_channels_last
from .foreach_ema import ForeachEMA
from .generators import GeneratorWrapper, Noise
from .image_size import check_sizes_agree, with_size
from .losses import LazyLoss, StepOutputs, list_losses, pair_loss
from .pretrained import load_pretrained
from .prior_normalizer import PriorNormalizer

# The paper's three losses (its Table 10) by their names in mmagic's GANLoss, which has no fourth.
GAN_TYPES = {
    'hinge': 'hinge',
    'non_saturating': 'vanilla',
    'wasserstein': 'wgan',
    'relativistic': None,
}


class Latents(NamedTuple):
    """What images are generated from: noise (N, Z) and raw priors (N, D), None without priors."""

    noise: Tensor
    prior: Tensor | None


class DrawsPriors(Protocol):
    """What a GAN asks of its sampler of priors; see ``samplers/``."""

    def sample(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw (num, D) raw priors."""
        ...


class PriorGAN(Protocol):
    """What hooks, applications and metrics ask of a GAN of this package."""

    noise_size: int
    prior_dim: int  # 0 where there are no priors
    per_image: bool  # priors are unit vectors, one for each training image or cell
    image_size: int | None
    prior_normalizer: PriorNormalizer
    sampler: DrawsPriors | None
    generator: nn.Module
    generator_ema: nn.Module  # only where the model keeps one
    discriminator: nn.Module | None

    def draw_latents(self, num: int, generator: torch.Generator | None = None) -> Latents:
        """Draw the noise and the raw priors of new images."""
        ...

    def find_sampled(self, bank: PriorBank | None) -> PriorBank | None:
        """Find what the sampler is fitted to."""
        ...

    def normalize_prior(self, prior: Tensor | None) -> Tensor | None:
        """Normalize raw priors into what the networks take."""
        ...


class DISPGAN(BaseGAN):
    r"""What makes one of mmagic's GANs a DISP GAN: equations (2) and (3) of the method.

    A subclass lists it before the host's class among its bases. Real and fake images of one step
    are scored against the priors of the same real images,

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
        ema_config (dict, optional): EMA of the generator, as in mmagic. Defaults to None.
        prior_norm (str): How priors are normalized, see :class:`PriorNormalizer`.
            Defaults to 'none': the paper mentions no normalization.
        prior_length (float, optional): Length of normalized priors, the strength of the condition.
            Defaults to None: the square root of ``prior_dim``.
        sampler (dict | nn.Module, optional): Where priors of new images come from, or its config.
            Defaults to None: each call must bring priors.
        loss (str): 'hinge', 'non_saturating', 'wasserstein', or 'relativistic', see
            :func:`~disp_plugin.models.losses.pair_loss`. Defaults to 'hinge'.
        disc_losses (dict[str, dict], optional): Further losses of D by names of choice, as
            ``dict(consistency=dict(type='ConsistencyRegularization', loss_weight=10.0))``; None in
            place of one turns it off. Defaults to None.
        gen_losses (dict[str, dict], optional): The same for G. Defaults to None.
        image_size (int, optional): Height and width of images in pixels, handed to the networks
            that do not state it. Defaults to None: both networks state it.
        per_image (bool): Whether the prior of a training image is a unit vector, which the sampler
            gives it, so that G_emb and D_emb hold embeddings. With ``PerImageSampler`` each image
            has its own, the paper's few-shot baseline, and ``prior_dim`` is the number of training
            images; with ``CellSampler`` that of cells. Defaults to False.
        per_image_scale (float): Length of those vectors. To compare at the same strength of the
            condition, give the mean length of the priors. Defaults to 1.0.
        mining_iters (int, optional): Puts a miner before the generator, which learns alone for so
            many iterations, see :class:`~disp_plugin.techniques.MinedGenerator`.
            Defaults to None: no miner.
        pretrained (dict, optional): ``dict(checkpoint=...)``: a checkpoint to start from, a file or
            a name of mmagic's zoo, see :func:`load_pretrained`. Defaults to None.
        score_jointly (bool): Whether D scores fake and real images of a step in one batch, which is
            faster. Spectral norm then takes one power iteration a step of D in place of two, and
            random augmentations draw other numbers. Defaults to False.
        fuse_resampling (bool): Whether residual blocks resample and convolve in one pass, which is
            the same up to rounding and faster, see :func:`fuse_convolutions`. Defaults to True.
        channels_last (bool): Whether feature maps are kept in that memory format, which CPUs, and
            GPUs with tensor cores, convolve faster. Defaults to False.
        compile_networks (bool | dict): Whether torch compiles the networks that are trained, or the
            arguments of ``torch.compile``. The discriminator is compiled only with
            ``score_jointly`` and without ``disc_losses``: its spectral norm changes weights between
            two passes of a step, which compiled code cannot differentiate. Defaults to False.
        num_classes (int, optional): Ignored; lets a config inherit one of mmagic's.
            Defaults to None.

    Raises:
        ValueError: The loss is unknown, ``mining_iters`` comes to a generator that has a miner,
            the networks have another ``prior_dim`` or ``image_size``,
            or an option does not go with them.
    """

    # Options that a host's networks cannot take, with the reason.
    UNSUPPORTED: ClassVar[dict[str, str]] = {}

    noise_size: int
    generator: nn.Module
    discriminator: nn.Module | None
    _is_training = False  # by train(), which also holds what is frozen

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
        mining_iters: int | None = None,
        pretrained: dict | None = None,
        score_jointly: bool = False,
        fuse_resampling: bool = True,
        channels_last: bool = False,
        compile_networks: bool | dict = False,
        num_classes: int | None = None,
    ) -> None:
        if loss not in GAN_TYPES:
            raise ValueError(f'loss is {loss!r}; it must be one of {", ".join(GAN_TYPES)}')
        options = dict(score_jointly=score_jointly, compile_networks=compile_networks)
        _check_supported(self, options)
        _check_prior_options(prior_dim, prior_norm, per_image, sampler)
        scorer = _build(discriminator, prior_dim, image_size)
        built = _build(generator, prior_dim, image_size, noise_size)
        if mining_iters is not None:
            built = _add_miner(built, mining_iters)
        _check_supported(built, options)
        if score_jointly:
            _check_no_batch_norm(scorer)
        size = check_sizes_agree(built, scorer)
        _speed_up(built, fuse_resampling, channels_last)
        _speed_up(scorer, fuse_resampling, channels_last)
        super().__init__(
            built,
            scorer,
            data_preprocessor,
            generator_steps,
            discriminator_steps,
            ema_config=ema_config,
            **self._host_arguments(built),
        )
        self.noise_size = built.noise_size
        self.image_size = size
        if compile_networks:
            arguments = {} if compile_networks is True else compile_networks
            self.generator.compile(**arguments)
            if scorer is not None and score_jointly and not disc_losses:
                scorer.compile(**arguments)
        self.score_jointly = score_jointly
        self._accumulation = 1
        self.prior_dim = prior_dim
        self.prior_normalizer = PriorNormalizer(prior_dim, prior_norm, length=prior_length)
        self.per_image, self.per_image_scale = per_image, per_image_scale
        if isinstance(sampler, dict):
            rows = dict(prior_dim=prior_dim, scale=per_image_scale) if per_image else {}
            sampler = MODELS.build(sampler, default_args=rows)
        self.sampler: Any = sampler
        self.pretrained = pretrained
        gan_type = GAN_TYPES[loss]
        self._init_loss(
            dict(
                gan_loss=None if gan_type is None else dict(type='GANLoss', gan_type=gan_type),
                disc_auxiliary_loss=list_losses(disc_losses, 'disc_losses'),
                gen_auxiliary_loss=list_losses(gen_losses, 'gen_losses'),
            )
        )
        for auxiliary in self.gen_auxiliary_losses or ():
            if isinstance(auxiliary, LazyLoss):
                auxiliary.check_generator(self.generator)
        self._keep_priors_from_preprocessor()

    def _keep_priors_from_preprocessor(self) -> None:
        """Keep the preprocessor from normalizing priors as images."""
        # The list belongs to mmagic's class and all models share it: this model gets its own.
        preprocessor = self.data_preprocessor
        if hasattr(preprocessor, '_NON_IMAGE_KEYS'):
            preprocessor._NON_IMAGE_KEYS = [*preprocessor._NON_IMAGE_KEYS, 'prior']

    def _init_ema_model(self, ema_config: dict) -> None:
        kind = ema_config.get('type', 'ExponentialMovingAverage')
        is_plain = kind in ('ExponentialMovingAverage', ExponentialMovingAverage)
        super()._init_ema_model({**ema_config, 'type': ForeachEMA if is_plain else kind})

    def _host_arguments(self, generator: nn.Module) -> dict[str, object]:
        """Return arguments of the host's constructor that not every host takes."""
        # With split noise BigGAN rounds noise_size down to a multiple of its chunks.
        return {'noise_size': getattr(generator, 'noise_size', None)}

    @staticmethod
    def _get_valid_num_classes(*args: object) -> None:
        # priors take the place of class labels, and mmagic's check would ask for labels
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
        disc, gen = self.discriminator, self.generator
        tuned = {
            'model.discriminator.freeze': isinstance(disc, DiscriminatorWrapper) and disc.freeze,
            f'a {type(gen).__name__}': isinstance(gen, GeneratorWrapper) and gen.needs_pretrained,
        }
        for field in (field for field, is_given in tuned.items() if is_given):
            print_log(
                f'{field} is given without model.pretrained: unless load_from or --resume brings '
                'weights, random ones are kept, and spectral norms that have not converged',
                'current',
                logging.WARNING,
            )

    # Sampling

    def noise_fn(self, noise: Noise = None, num_batches: int = 1) -> Tensor:
        """Draw noise (N, Z) for ``num_batches`` images of this process; ``noise`` as in mmagic.

        Each of W processes draws for all and keeps its rows: with the same seed they use the noise
        that one process with the whole batch would.
        """
        if noise is not None:
            return super().noise_fn(noise, num_batches)
        world_size = get_world_size()
        return super().noise_fn(None, num_batches * world_size)[get_rank() :: world_size]

    def draw_latents(self, num: int, generator: torch.Generator | None = None) -> Latents:
        """Draw the noise and the raw priors of ``num`` new images, on the model's device.

        From the global generator each of W processes draws for all and keeps its rows. With a
        ``generator`` of their own, which must be on the CPU, all processes draw the same.

        Raises:
            RuntimeError: There is no sampler.
        """
        if generator is None:
            return Latents(self.noise_fn(num_batches=num), self._draw_priors(num, None))
        noise = torch.randn(num, self.noise_size, generator=generator).to(self.device)
        return Latents(noise, self._draw_priors(num, generator))

    def _draw_priors(self, num: int, generator: torch.Generator | None) -> Tensor | None:
        if self.prior_dim == 0:
            return None
        if self.sampler is None:
            raise RuntimeError(
                'this model has no sampler of priors: give model.sampler in the config, as '
                "dict(type='VicinalMixSampler'), or call it with inputs=dict(prior=...)"
            )
        if generator is not None:
            return self.sampler.sample(num, generator).to(self.device)
        world_size = get_world_size()
        return self.sampler.sample(num * world_size)[get_rank() :: world_size].to(self.device)

    def find_sampled(self, bank: PriorBank | None) -> PriorBank | None:
        """Find what the sampler is fitted to: the bank of the training images, or what replaces it.

        None is for a model without a bank.
        """
        return bank

    def normalize_prior(self, prior: Tensor | None) -> Tensor | None:
        """Normalize raw priors (N, D) into what the networks take; None stays None."""
        if prior is None or self.prior_dim == 0:
            return None
        return self.prior_normalizer(prior)

    def forward(
        self,
        inputs: Mapping | Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str | None = None,
    ) -> list[DataSample]:
        """Sample images.

        Args:
            inputs (dict | Tensor): Noise (N, Z), or a dict with any of ``noise``, ``num_batches``,
                ``prior`` (N, D, raw; drawn from the sampler where it is missing), ``sample_model``
                ('ema', 'orig', 'ema/orig') and ``sample_kwargs``, as ``dict(truncation=0.5)``.

        Returns:
            list[DataSample]: With ``fake_img`` (3, H, W) in [0, 255], ``noise`` and ``prior``.
        """
        inputs = dict(noise=inputs) if isinstance(inputs, Tensor) else dict(inputs)
        num_batches = get_valid_num_batches(inputs, data_samples)
        inputs['noise'] = self.noise_fn(inputs.get('noise'), num_batches=num_batches)
        prior = inputs.pop('prior', None)
        prior = self._draw_priors(num_batches, None) if prior is None else prior.to(self.device)
        sample_kwargs = dict(inputs.get('sample_kwargs') or {})
        if prior is not None:
            sample_kwargs['prior'] = self.normalize_prior(prior)
        inputs['sample_kwargs'] = sample_kwargs
        # the host's forward would sample labels
        samples = BaseGAN.forward(self, inputs, data_samples, mode)  # type: ignore[arg-type]
        for index, sample in enumerate(samples):
            sample.sample_kwargs = {k: v for k, v in sample_kwargs.items() if k != 'prior'}
            if prior is not None:
                sample.prior = prior[index]
        return samples

    # Training

    def train(self, mode: bool = True) -> 'DISPGAN':
        """Set the mode of all modules.

        mmengine's loop asks for it before every step; to look takes a fraction of setting.
        """
        if not (mode and self._is_training and _is_training(self)):
            super().train(mode)
        self._is_training = mode
        return self

    def data_sample_to_prior(self, data_samples: DataSample) -> Tensor | None:
        """Return the normalized priors (N, D) of a batch of real images.

        They are those in ``gt_prior``, or those that the sampler finds for the rows ``sample_idx``
        where ``per_image`` is on; None if ``prior_dim`` is 0.

        Raises:
            ValueError: The samples carry no prior.
        """
        if self.prior_dim == 0:
            return None
        if self.per_image:
            rows = torch.as_tensor(data_samples.sample_idx).flatten()
            prior = self.sampler.find_priors(rows, data_samples.get('flipped'))
            return self.normalize_prior(prior)
        if 'gt_prior' not in data_samples:
            raise ValueError(
                "the batch carries no 'gt_prior': give train_dataloader.dataset.bank_file, or, for "
                "a data set of another type, dict(type='LoadPrior', bank_file=...) in its pipeline "
                "and PackInputs(..., data_keys=['gt_prior'])"
            )
        return self.normalize_prior(data_samples.gt_prior)

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """Run one training step; lazy regularizers receive the update index."""
        # Batches of one update: a regularizer is due for all of them or for none.
        self._accumulation = optim_wrapper['discriminator']._accumulative_counts
        # StyleGAN2's own does not ask the optimizers for a context, such as that of autocast
        return BaseGAN.train_step(self, data, optim_wrapper)

    def train_discriminator(
        self, inputs: dict, data_samples: DataSample, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Update the discriminator once; return what is logged: losses and mean scores.

        ``data_samples`` holds stacked ``gt_img`` (N, 3, H, W) and ``gt_prior`` (N, D).
        """
        assert self.discriminator is not None
        real_imgs = data_samples.gt_img
        prior = self.data_sample_to_prior(data_samples)
        noise = self.training_noise(len(real_imgs))
        with torch.no_grad():
            fake_imgs = self.generator(noise=noise, prior=prior, return_noise=False)
        check_shapes(fake_imgs, real_imgs)
        disc_pred_fake, disc_pred_real = self._score(fake_imgs, real_imgs, prior)
        outputs = self._outputs(prior, len(real_imgs), self._accumulation)
        outputs['disc_pred_fake'], outputs['disc_pred_real'] = disc_pred_fake, disc_pred_real
        outputs['fake_imgs'], outputs['real_imgs'] = fake_imgs, real_imgs
        loss, log_vars = self._get_disc_loss(outputs)
        optimizer_wrapper.update_params(loss)
        log_vars['score_fake'] = disc_pred_fake.detach().mean()
        log_vars['score_real'] = disc_pred_real.detach().mean()
        return log_vars

    def _score(
        self, fake_imgs: Tensor, real_imgs: Tensor, prior: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Score fake and real images (N, 3, H, W) against the priors of the real ones."""
        assert self.discriminator is not None
        if not self.score_jointly:
            return self.discriminator(fake_imgs, prior), self.discriminator(real_imgs, prior)
        both = self.discriminator(
            torch.cat((fake_imgs, real_imgs)), None if prior is None else prior.repeat(2, 1)
        )
        return both[: len(fake_imgs)], both[len(fake_imgs) :]

    def train_generator(
        self, inputs: dict, data_samples: DataSample, optimizer_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Update the generator once, with the priors of the last batch; return what is logged."""
        assert self.discriminator is not None
        prior = self.data_sample_to_prior(data_samples)
        num_batches = len(data_samples.gt_img)
        noise = self.training_noise(num_batches)
        fake_imgs = self.generator(noise=noise, prior=prior, return_noise=False)
        batches = self.discriminator_steps * self._accumulation
        outputs = self._outputs(prior, num_batches, batches)
        outputs['fake_imgs'] = fake_imgs
        if self.gan_loss is None:
            scores = self._score(fake_imgs, data_samples.gt_img, prior)
            outputs['disc_pred_fake_g'], outputs['disc_pred_real'] = scores
        else:
            outputs['disc_pred_fake_g'] = self.discriminator(fake_imgs, prior)
        loss, log_vars = self._get_gen_loss(outputs)
        optimizer_wrapper.update_params(loss)
        return log_vars

    def training_noise(self, num_batches: int) -> Tensor | list[Tensor]:
        """Draw the noise of a training step: (N, Z), or what else the generator takes as noise."""
        return self.noise_fn(num_batches=num_batches)

    def _get_disc_loss(self, out_dict: StepOutputs) -> tuple[Tensor, dict]:
        # Adaptive augmentation is steered by the scores, which are nothing for checkpoints.
        hub = MessageHub.get_current_instance()
        hub.update_info('disc_pred_real', out_dict['disc_pred_real'].detach(), resumed=False)
        if self.gan_loss is not None:
            return super()._get_disc_loss(out_dict)
        loss = pair_loss(out_dict['disc_pred_real'], out_dict['disc_pred_fake'], False)
        return self._add_auxiliary({'loss_disc_pair': loss}, self.disc_auxiliary_losses, out_dict)

    def _get_gen_loss(self, out_dict: StepOutputs) -> tuple[Tensor, dict]:
        if self.gan_loss is not None:
            return super()._get_gen_loss(out_dict)
        loss = pair_loss(out_dict['disc_pred_real'], out_dict['disc_pred_fake_g'], True)
        return self._add_auxiliary({'loss_gen_pair': loss}, self.gen_auxiliary_losses, out_dict)

    def _add_auxiliary(
        self, losses: dict[str, Tensor], auxiliaries: Any, outputs: StepOutputs
    ) -> tuple[Tensor, dict]:
        """Add auxiliary losses, as the host does to its own loss; return their sum and the log."""
        for auxiliary in auxiliaries or ():
            value, name = auxiliary(outputs), auxiliary.loss_name()
            if value is not None:
                losses[name] = losses[name] + value if name in losses else value
        return self.parse_losses(losses)

    def _outputs(
        self,
        prior: Tensor | None,
        num_batches: int,
        batches_per_update: int,
    ) -> StepOutputs:
        """Collect what auxiliary losses need; networks are functions with the priors bound.

        mmagic's penalties call a network with images or noise and nothing else.
        """

        def generate(
            noise: Noise | list[Tensor] = None, num_batches: int = num_batches, **kwargs: object
        ) -> Tensor | dict:
            noise = self.training_noise(num_batches) if noise is None else noise
            part = None if prior is None else prior[:num_batches]
            return self.generator(noise, prior=part, **kwargs)

        assert self.discriminator is not None
        # mmengine's loop keeps the number of iterations; there is none outside of a run
        iteration = MessageHub.get_current_instance().get_info('iter') or 0
        return StepOutputs(
            gen=generate,
            disc=functools.partial(self.discriminator, prior=prior),
            batch_size=num_batches,
            step=iteration // batches_per_update,
        )


@MODELS.register_module()
class DISPSNGAN(DISPGAN, SAGAN):
    """SNGAN with Data InStance Priors; see :class:`DISPGAN` for its arguments.

    mmagic registers one class under the names SNGAN and SAGAN.
    """


@MODELS.register_module()
class DISPFastGAN(DISPSNGAN):
    """A DISP GAN with FastGAN's generator and SNGAN's discriminator; see :class:`DISPGAN`."""


@MODELS.register_module()
class DISPBigGAN(DISPGAN, BigGAN):
    """BigGAN with Data InStance Priors; see :class:`DISPGAN` for its arguments."""


def check_shapes(fake_imgs: Tensor, real_imgs: Tensor) -> None:
    """Raise ValueError if generated and training images differ in shape."""
    if fake_imgs.shape != real_imgs.shape:
        raise ValueError(
            f'the generator makes images of {tuple(fake_imgs.shape[1:])}, but the training '
            f'images are {tuple(real_imgs.shape[1:])} (channels, height, width); set '
            'model.image_size and that of the training set to one size'
        )


def _is_training(part: nn.Module) -> bool:
    """Tell whether a module and all in it are in training mode."""
    # Module.modules() makes names as well, which takes twice as long
    inner = part._modules.values()
    return part.training and all(_is_training(module) for module in inner if module is not None)


def _check_prior_options(prior_dim: int, prior_norm: str, per_image: bool, sampler: Any) -> None:
    if not isinstance(prior_dim, int):
        raise ValueError(
            f'prior_dim is {prior_dim!r}; it must be the length of a prior, the number of '
            'training images where per_image=True, or 0 for no prior'
        )
    if per_image and sampler is None:
        raise ValueError("per_image=True needs a sampler, such as dict(type='PerImageSampler')")
    if per_image and prior_norm not in ('none', 'l2'):
        raise ValueError(
            f"prior_norm is {prior_norm!r}, but per_image=True takes 'none' or 'l2' only: the "
            'others are fitted to a bank, and there is none'
        )


def _check_supported(part: nn.Module, options: dict[str, bool | dict]) -> None:
    """Raise if the model, or its generator, lists an option that is set as unsupported."""
    reasons = part.UNSUPPORTED if isinstance(part, DISPGAN | GeneratorWrapper) else {}
    for name in (name for name, value in options.items() if value and name in reasons):
        raise ValueError(
            f'{type(part).__name__} takes no {name}: {reasons[name]}; leave model.{name} out'
        )


def _check_no_batch_norm(discriminator: nn.Module | None) -> None:
    parts = () if discriminator is None else discriminator.modules()
    if any(isinstance(part, _BatchNorm) for part in parts):
        raise ValueError(
            f'{type(discriminator).__name__} has batch norms, whose statistics would mix real and '
            'fake images; leave model.score_jointly out'
        )


def _speed_up(network: nn.Module | None, fuse_resampling: bool, channels_last: bool) -> None:
    if network is not None and fuse_resampling:
        fuse_convolutions(network)
    if network is not None and channels_last:
        keep_channels_last(network)


def _add_miner(generator: nn.Module, mining_iters: int) -> nn.Module:
    if isinstance(generator, GeneratorWrapper):
        raise ValueError(
            f'model.mining_iters is {mining_iters}, but the generator is a '
            f'{type(generator).__name__} already; state mining_iters in one place'
        )
    config = dict(type='MinedGenerator', generator=generator, mining_iters=mining_iters)
    return MODELS.build(config)


def _build(
    network: Any,
    prior_dim: int,
    image_size: int | None,
    noise_size: int | None = None,
) -> Any:
    """Build a network that takes the model's priors, in its image size."""
    if network is None:
        return None
    network = with_size(network, image_size)
    if isinstance(network, dict):
        sizes = dict(prior_dim=prior_dim, noise_size=noise_size)
        defaults = {name: size for name, size in sizes.items() if size is not None}
        network = MODELS.build(network, default_args=defaults)
    if getattr(network, 'prior_dim', None) != prior_dim:
        raise ValueError(
            f'prior_dim of the model is {prior_dim} but that of its '
            f'{type(network).__name__} is {getattr(network, "prior_dim", "missing")}'
        )
    return network
