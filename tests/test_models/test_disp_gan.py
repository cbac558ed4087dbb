"""A DISP GAN as mmagic uses it: built from config, trained, sampled, saved and loaded."""

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.optim import OptimWrapper

import disp_plugin.samplers  # noqa: F401 (registers them)
from disp_plugin.models import load_pretrained
from disp_plugin.priors import PriorBank
from tests.numerics import assert_close_to_scale

D = 6
GENERATOR = dict(base_channels=4, output_scale=32, noise_size=16)
BIGGAN = dict(
    type='DISPBigGAN',
    prior_dim=D,
    generator=dict(type='DISPBigGANGenerator', sn_style='torch', **GENERATOR),
    discriminator=dict(
        type='PriorProjectionDiscriminator',
        discriminator=dict(
            type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='torch'
        ),
    ),
    data_preprocessor=dict(type='DataPreprocessor'),
    ema_config=dict(type='ExponentialMovingAverage', momentum=0.1),
    sampler=dict(type='VicinalMixSampler'),
)
SNGAN = dict(
    BIGGAN,
    type='DISPSNGAN',
    generator=dict(type='DISPSNGANGenerator', **GENERATOR),
    discriminator=dict(
        type='PriorProjectionDiscriminator',
        discriminator=dict(type='ProjDiscriminator', input_scale=32, base_channels=4),
    ),
)
BOTH = pytest.mark.parametrize('config', [BIGGAN, SNGAN], ids=lambda config: config['type'])


def make_bank(num=10):
    priors = torch.rand(num, 1, D, generator=torch.Generator().manual_seed(0))
    return PriorBank([f'{row:02d}.png' for row in range(num)], priors)


def build(config, fit=True, **changes):
    torch.manual_seed(0)
    gan = MODELS.build({**config, **changes})
    if fit and gan.sampler is not None:
        gan.sampler.fit(make_bank())
        gan.prior_normalizer.fit(torch.from_numpy(make_bank().priors))
    return gan


def batch(num=4):
    img = [torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8) for _ in range(num)]
    samples = []
    for image in img:
        sample = DataSample(gt_prior=torch.rand(D))
        sample.gt_img = image
        samples.append(sample)
    return dict(inputs=dict(img=img), data_samples=samples)


def train(gan, num_iters=3):
    from mmengine.logging import MessageHub
    from mmengine.optim import OptimWrapperDict

    wrappers = OptimWrapperDict(
        generator=OptimWrapper(torch.optim.Adam(gan.generator.parameters(), 1e-3)),
        discriminator=OptimWrapper(torch.optim.Adam(gan.discriminator.parameters(), 1e-3)),
    )
    logs = []
    for index in range(num_iters):
        MessageHub.get_current_instance().update_info('iter', index)
        logs.append(gan.train_step(batch(), wrappers))
    return logs


@BOTH
@pytest.mark.parametrize('prior_dim', [D, 0])
def test_a_step_by_mmagics_train_step_moves_every_weight(config, prior_dim):
    gan = build(config, fit=prior_dim > 0, prior_dim=prior_dim)
    before = {k: v.clone() for k, v in gan.named_parameters() if v.requires_grad}
    logs = train(gan)
    assert {'loss_disc_real', 'loss_disc_fake', 'score_real', 'score_fake'} <= set(logs[-1])
    # BigGAN's attention begins with a gain of zero; at 32 px there is none.
    still = [k for k, v in gan.named_parameters() if k in before and torch.equal(v, before[k])]
    assert not still


@BOTH
def test_samples_come_from_the_sampler_unless_priors_are_brought(config):
    gan = build(config).eval()
    samples = gan.forward(dict(num_batches=3, sample_model='ema'))
    assert len(samples) == 3 and samples[0].fake_img.shape == (3, 32, 32)
    assert samples[0].prior.shape == (D,) and 'prior' not in samples[0].sample_kwargs
    noise, prior = torch.randn(2, gan.noise_size), torch.rand(2, D)
    inputs = dict(noise=noise, prior=prior, sample_model='orig')
    first, second = gan.forward(dict(inputs)), gan.forward(dict(inputs))
    expected = gan.generator(noise, gan.condition(prior))
    for index in range(2):
        assert torch.equal(first[index].fake_img, second[index].fake_img)
        assert torch.equal(first[index].prior, prior[index])
        assert_close_to_scale(
            first[index].fake_img, gan.data_preprocessor.destruct(expected)[index]
        )


@BOTH
def test_val_step_takes_priors_through_mmagics_preprocessor(config):
    gan = build(config).eval()
    prior = torch.rand(2, D)
    inputs = dict(noise=torch.randn(2, gan.noise_size), prior=prior, sample_model='ema/orig')
    samples = gan.val_step(dict(inputs=inputs))
    assert torch.equal(torch.stack([sample.prior for sample in samples]), prior)
    other = MODELS.build(dict(type='DataPreprocessor'))
    assert 'prior' not in other._NON_IMAGE_KEYS


@BOTH
def test_truncation_reaches_the_generator(config):
    gan = build(config).eval()
    noise, prior = torch.randn(2, gan.noise_size) * 3, torch.rand(2, D)
    samples = gan.forward(
        dict(noise=noise, prior=prior, sample_kwargs=dict(truncation=0.3), sample_model='orig')
    )
    clamped = gan.forward(dict(noise=noise.clamp(-0.3, 0.3), prior=prior, sample_model='orig'))
    assert torch.equal(samples[0].fake_img, clamped[0].fake_img)


@BOTH
def test_the_length_of_priors_reaches_both_networks(config):
    seen = []
    gan = build(config, prior_norm='centered_l2', prior_length=0.25)
    for network in (gan.generator, gan.discriminator):
        network.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append([*args, *kwargs.values()][1]), with_kwargs=True
        )
    train(gan, 1)
    assert len(seen) >= 4
    for prior in seen:
        assert_close_to_scale(prior.norm(dim=1), torch.full((len(prior),), 0.25))


@BOTH
def test_checkpoint_round_trip_brings_back_sampler_statistics_and_average(config):
    gan = build(config, prior_norm='whitened')
    train(gan)
    other = build(config, fit=False, prior_norm='whitened')
    other.load_state_dict(gan.state_dict(), strict=True)
    for model in (gan, other):
        model.eval()
        torch.manual_seed(7)
        model.images = torch.stack([s.fake_img for s in model.forward(dict(num_batches=3))])
    assert torch.equal(gan.images, other.images)


@BOTH
def test_moving_average_follows_its_formula(config):
    gan = build(config)
    train(gan, 1)
    name = 'conv_blocks.0.shortcut.conv.weight'
    name = name if name in dict(gan.generator.named_parameters()) else name + '_orig'
    parameter = dict(gan.generator.named_parameters())[name]
    average = parameter.detach().double().clone()
    for _ in range(3):
        train(gan, 1)
        average = 0.9 * average + 0.1 * parameter.detach().double()
    ema = dict(gan.generator_ema.module.named_parameters())[name]
    assert_close_to_scale(ema, average, dtype=torch.float32)


def test_sampling_without_a_sampler_is_refused_with_the_way_out():
    with pytest.raises(RuntimeError, match=r'no sampler of priors: give model\.sampler'):
        build(BIGGAN, sampler=None).forward(dict(num_batches=1))


def test_networks_with_another_prior_dim_are_refused():
    generator = {**BIGGAN['generator'], 'prior_dim': 5}
    with pytest.raises(ValueError, match='prior_dim of the model is 6 but that of its DISPBigGAN'):
        build(BIGGAN, generator=generator)


class TestPretrained:
    """Starting from a checkpoint of mmagic's class-conditional BigGAN."""

    @pytest.fixture
    def checkpoint(self, tmp_path):
        torch.manual_seed(1)
        upstream = MODELS.build(
            dict(
                type='BigGAN',
                num_classes=3,
                generator=dict(type='BigGANGenerator', sn_style='torch', **GENERATOR),
                discriminator=dict(
                    type='BigGANDiscriminator', input_scale=32, base_channels=4, sn_style='torch'
                ),
                data_preprocessor=dict(type='DataPreprocessor'),
                ema_config=dict(type='ExponentialMovingAverage'),
            )
        )
        for value in upstream.generator_ema.parameters():
            value.data += 1
        file = tmp_path / 'biggan.pth'
        torch.save(dict(state_dict=upstream.state_dict(), meta={}), file)
        return file, upstream

    def test_all_but_the_class_embeddings_is_loaded_and_reported(self, checkpoint, capsys):
        file, upstream = checkpoint
        gan = build(BIGGAN)
        report = load_pretrained(gan, str(file))
        new = {key for key in report.new if 'prior_projection' in key}
        assert {key.split('.')[0] for key in new} == {'generator', 'generator_ema', 'discriminator'}
        assert set(report.new) - new <= {
            'generator_ema.steps',
            *(key for key in report.new if key.startswith('sampler.')),
        }
        embeddings = ('shared_embedding', 'proj_y')
        assert report.ignored and all(any(e in key for e in embeddings) for key in report.ignored)
        assert not report.mismatched
        for key, value in upstream.generator_ema.module.state_dict().items():
            if 'shared_embedding' not in key:
                assert torch.equal(gan.generator.state_dict()[key], value), key
                assert torch.equal(gan.generator_ema.module.state_dict()[key], value), key
        for key, value in upstream.discriminator.state_dict().items():
            if 'proj_y' not in key:
                assert torch.equal(gan.discriminator.discriminator.state_dict()[key], value), key
        assert 'shared_embedding.weight' in str(report)

    def test_init_weights_loads_after_initializing(self, checkpoint):
        file, upstream = checkpoint
        gan = build(BIGGAN, pretrained=dict(checkpoint=str(file)))
        gan.init_weights()
        key = 'decision.weight_orig'
        expected = upstream.discriminator.state_dict()[key]
        assert torch.equal(gan.discriminator.discriminator.state_dict()[key], expected)


@BOTH
def test_initialization_reaches_spectrally_normalized_layers_of_a_moved_model(config):
    """Moving a model gives torch's spectral norm a second tensor under the name of the first."""
    gan, moved = build(config), build(config).double().float()
    for model in (gan, moved):
        torch.manual_seed(3)
        model.init_weights()
    weights = dict(moved.named_parameters())
    assert any(name.endswith('weight_orig') for name in weights)
    for name, value in gan.named_parameters():
        assert_close_to_scale(weights[name], value)
