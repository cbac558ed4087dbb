"""A DISP GAN as mmagic uses it: built from config, trained, sampled, saved and loaded."""

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample

from disp_plugin.priors import PriorBank
from tests.gans import PRIOR_DIM, TYPE, draw, gan_config, make_batch, make_gan, train_gan
from tests.numerics import assert_close_to_scale

BOTH = pytest.mark.parametrize('name', ['biggan', 'sngan'])
ALL = pytest.mark.parametrize('name', TYPE)
IMAGES = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)


def build(name, fit=True, **changes):
    options = dict(
        ema_config=dict(type='ExponentialMovingAverage', momentum=0.1),
        sampler=dict(type='VicinalMixSampler'),
    )
    gan = make_gan(name, **{**options, **changes})
    if fit and gan.sampler is not None:
        priors = torch.rand(10, 1, PRIOR_DIM, generator=torch.Generator().manual_seed(0))
        gan.sampler.fit(PriorBank([f'{row:02d}.png' for row in range(10)], priors))
        gan.prior_normalizer.fit(priors)
    return gan


@BOTH
@pytest.mark.parametrize('prior_dim', [PRIOR_DIM, 0])
def test_a_step_by_mmagics_train_step_moves_every_weight(name, prior_dim):
    gan = build(name, fit=prior_dim > 0, prior_dim=prior_dim)
    before = {k: v.clone() for k, v in gan.named_parameters() if v.requires_grad}
    logs = train_gan(gan, 3)
    assert {'loss_disc_real', 'loss_disc_fake', 'score_real', 'score_fake'} <= set(logs[-1])
    # BigGAN's attention begins with a gain of zero; at 32 px there is none.
    still = [k for k, v in gan.named_parameters() if k in before and torch.equal(v, before[k])]
    assert not still


@BOTH
def test_samples_come_from_the_sampler_unless_priors_are_brought(name):
    gan = build(name).eval()
    samples = gan.forward(dict(num_batches=3, sample_model='ema'))
    assert len(samples) == 3 and samples[0].fake_img.shape == (3, 32, 32)
    assert samples[0].prior.shape == (PRIOR_DIM,) and 'prior' not in samples[0].sample_kwargs
    noise, prior = draw(gan)
    inputs = dict(noise=3 * noise, prior=prior, sample_model='orig')
    inputs['sample_kwargs'] = dict(truncation=0.3)
    first, second = gan.forward(dict(inputs)), gan.forward(dict(inputs))
    expected = gan.generator((3 * noise).clamp(-0.3, 0.3), gan.normalize_prior(prior))
    for index in range(3):
        assert torch.equal(first[index].fake_img, second[index].fake_img)
        assert torch.equal(first[index].prior, prior[index])
        assert_close_to_scale(
            first[index].fake_img, gan.data_preprocessor.destruct(expected)[index]
        )


def test_val_step_takes_priors_through_mmagics_preprocessor():
    gan = build('sngan').eval()
    noise, prior = draw(gan)
    samples = gan.val_step(dict(inputs=dict(noise=noise, prior=prior, sample_model='ema/orig')))
    assert torch.equal(torch.stack([sample.prior for sample in samples]), prior)
    other = MODELS.build(dict(type='DataPreprocessor'))
    assert 'prior' not in other._NON_IMAGE_KEYS


@BOTH
def test_the_length_of_priors_reaches_both_networks(name):
    seen = []
    gan = build(name, prior_norm='centered_l2', prior_length=0.25)
    for network in (gan.generator, gan.discriminator):
        network.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append([*args, *kwargs.values()][1]), with_kwargs=True
        )
    train_gan(gan)
    assert len(seen) >= 4
    for prior in seen:
        assert_close_to_scale(prior.norm(dim=1), torch.full((len(prior),), 0.25))


@BOTH
def test_checkpoint_round_trip_brings_back_sampler_statistics_and_average(name):
    gan = build(name, prior_norm='whitened')
    train_gan(gan, 3)
    other = build(name, fit=False, prior_norm='whitened')
    other.load_state_dict(gan.state_dict(), strict=True)
    images = []
    for model in (gan.eval(), other.eval()):
        torch.manual_seed(7)
        found = model.forward(dict(num_batches=3, sample_model='ema'))
        images.append(torch.stack([sample.fake_img for sample in found]))
    assert torch.equal(*images)


@BOTH
def test_initialization_reaches_spectrally_normalized_layers_of_a_moved_model(name):
    """Moving a model gives torch's spectral norm a second tensor under the name of the first."""
    gan, moved = build(name), build(name).double().float()
    for model in (gan, moved):
        torch.manual_seed(3)
        model.init_weights()
    weights = dict(moved.named_parameters())
    assert any(name.endswith('weight_orig') for name in weights)
    for key, value in gan.named_parameters():
        assert_close_to_scale(weights[key], value)


@ALL
def test_the_size_of_images_is_stated_once(name):
    gan = make_gan(name, image_size=64)
    noise, prior = draw(gan, 2)
    img = gan.generator(noise, prior=prior)
    assert img.shape == (2, 3, 64, 64) and gan.image_size == 64
    assert gan.discriminator(img, prior).shape == (2, 1)
    assert make_gan(name, image_size=64, mining_iters=1).image_size == 64
    mined = dict(type='MinedGenerator', generator=f'DISP{TYPE[name]}Generator', mining_iters=1)
    assert make_gan(name, image_size=64, generator=mined).image_size == 64


def test_a_network_that_states_no_size_takes_it():
    size_less = dict(generator=dict(output_scale=None), network=dict(input_scale=None))
    assert make_gan('sngan', **size_less).image_size == 32


class TestPerImage:
    """The baseline of one embedding for each training image: rows of two matrices, no bank."""

    @staticmethod
    def build(**changes):
        sampler = dict(type='PerImageSampler')
        return make_gan('sngan', per_image=True, per_image_scale=3.0, sampler=sampler, **changes)

    @staticmethod
    def prior_of(gan, rows):
        samples = make_batch(IMAGES)['data_samples']
        return gan.data_sample_to_prior(DataSample.stack([samples[row] for row in rows]))

    def test_the_condition_of_an_image_is_its_column_of_the_projections(self):
        gan = self.build()
        prior = self.prior_of(gan, [2, 0, 2])
        assert prior.shape == (3, PRIOR_DIM) and prior.sum() == 9
        for projection in (gan.generator.prior_projection, gan.discriminator.prior_projection):
            projection.eval()
            embedding = torch.nn.Embedding(PRIOR_DIM, projection.out_dim)
            with torch.no_grad():
                projection(prior)  # spectral norm sets the weight
                embedding.weight.copy_(projection[0].weight.T * 3)
                assert torch.equal(projection(prior), embedding(torch.tensor([2, 0, 2])))

    def test_new_conditions_mix_two_rows_of_the_same_length_and_need_no_bank(self):
        gan = self.build()
        noise, prior = gan.draw_latents(200, torch.Generator().manual_seed(0))
        assert noise.shape == (200, gan.noise_size) and prior.shape == (200, PRIOR_DIM)
        assert ((prior > 0).sum(dim=1) <= 2).all() and ((prior > 0).sum(dim=1) == 2).any()
        assert_close_to_scale(prior.sum(dim=1), torch.full((200,), 3.0))
        again = gan.draw_latents(200, torch.Generator().manual_seed(0))
        assert torch.equal(again.prior, prior) and torch.equal(again.noise, noise)
        state = {name for name in gan.state_dict() if name.startswith('sampler')}
        assert state == {'sampler.labels', 'sampler.counts'}

    def test_more_images_than_embeddings_are_refused(self):
        with pytest.raises(ValueError, match=r'knows 2 training images, but image 2 came'):
            self.prior_of(self.build(prior_dim=2), [1, 2])


class TestSpeed:
    """Memory format and compiling: what they change and what they leave alone."""

    @BOTH
    def test_scores_of_one_batch_are_those_of_two(self, name):
        """In evaluation mode, where spectral norm takes no power iteration."""
        steps = []
        for jointly in (False, True):
            gan = build(name, score_jointly=jointly).double()
            gan.discriminator.eval()
            real, fake = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
            prior = torch.rand(3, PRIOR_DIM, generator=torch.Generator().manual_seed(2))
            scores = gan._score(*(part.double() for part in (fake, real, prior)))
            (scores[0].relu() - scores[1]).sum().backward()
            grads = [p.grad.flatten() for p in gan.discriminator.parameters()]
            steps.append((*scores, torch.cat(grads)))
        for actual, expected in zip(*steps, strict=True):
            assert_close_to_scale(actual, expected)

    def test_a_model_that_only_samples_takes_the_option_too(self):
        config = {**gan_config('sngan', score_jointly=True), 'discriminator': None}
        gan = MODELS.build(config)
        assert gan.discriminator is None and gan.score_jointly

    def test_a_joint_step_is_logged_and_moves_every_weight(self):
        gan = build('sngan', score_jointly=True)
        calls = []
        gan.discriminator.register_forward_hook(lambda *args: calls.append(len(args[2])))
        before = {k: v.clone() for k, v in gan.named_parameters() if v.requires_grad}
        logs = train_gan(gan)
        assert calls == [8, 4]  # both at once, then the generator's
        assert {'loss_disc_real', 'loss_disc_fake', 'score_real', 'score_fake'} <= set(logs[-1])
        assert not [k for k, v in gan.named_parameters() if k in before and v.equal(before[k])]

    @pytest.mark.slow
    def test_compiled_networks_are_used_and_keep_images_gradients_and_names(self):
        graphs = []

        def backend(graph, inputs):
            graphs.append(graph)
            return graph.forward

        options = dict(score_jointly=True)
        plain = build('biggan', **options)
        compiled = build('biggan', compile_networks=dict(backend=backend), **options)
        noise, prior = draw(plain)
        images = [gan.generator(noise, prior) for gan in (plain, compiled)]
        assert graphs
        assert_close_to_scale(*images)
        for image in images:
            image.square().sum().backward()
        values, others = (gan.generator.parameters() for gan in (plain, compiled))
        for value, other in zip(values, others, strict=True):
            assert_close_to_scale(value.grad, other.grad)
        assert list(compiled.state_dict()) == list(plain.state_dict())
        num_graphs = len(graphs)
        for gan in (plain, compiled):
            torch.manual_seed(1)
            train_gan(gan, 2, optimizer=torch.optim.SGD)
        assert len(graphs) > num_graphs
        for value, other in zip(plain.parameters(), compiled.parameters(), strict=True):
            assert_close_to_scale(value, other)


REFUSED = [
    (dict(loss='hing'), r"loss is 'hing'; it must be one of hinge, non_saturating"),
    (
        dict(generator=dict(prior_dim=5)),
        'prior_dim of the model is 6 but that of its DISPBigGANGenerator is 5',
    ),
    (
        dict(generator=dict(output_scale=64)),
        'image_size of the model is 32, but output_scale of its DISPBigGANGenerator is 64',
    ),
    (
        dict(image_size=None, generator=dict(output_scale=64), network=dict(input_scale=32)),
        'makes images of 64 px, but the discriminator takes 32 px',
    ),
    (dict(per_image=True), 'per_image=True needs a sampler, such as'),
    (
        dict(per_image=True, sampler={}, prior_norm='whitened'),
        "per_image=True takes 'none' or 'l2' only",
    ),
    (dict(prior_dim=None), 'the number of training images where per_image=True'),
    (
        dict(gen_losses=dict(path_length=dict(type='GeneratorPathRegularizer'))),
        'DISPBigGANGenerator has none; leave it out of model.gen_losses',
    ),
    (dict(disc_losses=dict(mine=dict(weight=1.0))), "model.disc_losses.mine has no 'type'"),
]


@pytest.mark.parametrize(('changes', 'words'), REFUSED)
def test_what_cannot_be_built_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make_gan('biggan', **changes)


@pytest.mark.parametrize(
    ('option', 'reason'),
    [
        ('score_jointly', 'compares the images of a batch'),
        ('compile_networks', 'differentiates the generator twice'),
    ],
)
def test_stylegan2_takes_no_speed_option(option, reason):
    with pytest.raises(ValueError, match=f'DISPStyleGAN2 takes no {option}: .*{reason}'):
        make_gan('stylegan2', **{option: True})


def test_what_brings_no_priors_is_refused_with_the_way_out():
    with pytest.raises(RuntimeError, match=r'no sampler of priors: give model\.sampler'):
        make_gan('biggan').forward(dict(num_batches=1))
    gan = make_gan('biggan')
    with pytest.raises(ValueError, match=r"carries no 'gt_prior'.*LoadPrior"):
        gan.data_sample_to_prior(DataSample(gt_img=IMAGES))


def test_a_mode_that_is_set_is_not_set_again_but_what_left_it_comes_back(monkeypatch):
    gan, calls = build('sngan'), []
    train = torch.nn.Module.train
    monkeypatch.setattr(
        torch.nn.Module, 'train', lambda self, mode=True: calls.append(mode) or train(self, mode)
    )
    assert gan.train() is gan and not calls
    deep = next(part for part in gan.generator.modules() if not list(part.children()))
    deep.eval()
    gan.train()
    assert deep.training
    assert not any(part.training for part in gan.eval().modules())
    assert all(part.training for part in gan.train().modules())


def test_blocks_are_frozen_from_the_first_call_of_train_on_and_again_after_each_step():
    config = gan_config('sngan', discriminator=dict(freeze=dict(type='FreezeD', blocks=1)))
    gan = MODELS.build(config)
    for _ in range(2):
        frozen = [part for part in gan.train().discriminator.modules() if not part.training]
        assert frozen and not any(p.requires_grad for part in frozen for p in part.parameters())
        gan.discriminator.requires_grad_(True)  # as mmagic does after a step of the generator
