"""A miner before a pretrained generator: two phases, and the interface of a generator."""

import copy
from pathlib import Path

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import MODEL_WRAPPERS

from disp_plugin.applications.invert_images import generate_by_blocks
from disp_plugin.cli.config import load_config
from disp_plugin.models import load_pretrained
from disp_plugin.techniques import MinedGenerator, Miner
from tests.gans import (
    NOISE,
    PRIOR_DIM,
    TYPE,
    draw,
    gan_config,
    make_gan,
    make_runner,
)
from tests.numerics import assert_close_to_scale

CONFIGS = Path(__file__).parents[2] / 'configs'
MINING, DISC_STEPS = 2, 2
OPTIONS = {
    'sngan': dict(with_spectral_norm=True),
    'biggan': dict(shared_dim=6, sn_style='ajbrock'),
    'stylegan2': {},
}
GANS = pytest.mark.parametrize('name', TYPE)


def build(name, mined=True, generator=None, **changes):
    """A DISP GAN, with a miner before its generator or without."""
    return make_gan(
        name,
        generator={**OPTIONS[name], **(generator or {})},
        network=dict(sn_style='ajbrock') if name == 'biggan' else {},
        mining_iters=MINING if mined else None,
        discriminator_steps=DISC_STEPS,
        ema_config=dict(type='ExponentialMovingAverage', momentum=0.1),
        **changes,
    )


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """Checkpoints of the source domain: class-conditional ones of mmagic where it has them."""
    files = {}
    for name in TYPE:
        classes = {} if name == 'stylegan2' else dict(num_classes=5)
        gan = make_gan(name, True, seed=7, generator={**OPTIONS[name], **classes})
        files[name] = tmp_path_factory.mktemp('source') / f'{name}.pth'
        state = gan.generator.state_dict()
        torch.save({f'generator.{key}': value for key, value in state.items()}, files[name])
    return files


class Record(Hook):
    """The generator's state after each of its updates."""

    def before_train(self, runner):
        self.states = [copy.deepcopy(runner.model.generator.state_dict())]

    def after_train_iter(self, runner, *args, **kwargs):
        if (runner.iter + 1) % DISC_STEPS == 0:
            self.states.append(copy.deepcopy(runner.model.generator.state_dict()))


def train(gan, folder, updates, **options):
    record, adam = Record(), dict(lr=0.01, betas=(0.0, 0.9))
    iters = updates * DISC_STEPS
    make_runner(gan, folder, iters, DISC_STEPS, adam, custom_hooks=[record], **options).train()
    return record.states


def changed(before, after, names):
    return {name for name in names if not torch.equal(before[name], after[name])}


@GANS
@pytest.mark.parametrize('prior_dim', [PRIOR_DIM, 0])
def test_the_pretrained_part_stays_bit_identical_until_mining_ends(
    name, prior_dim, pretrained, tmp_path
):
    gan = build(name, prior_dim=prior_dim, pretrained=dict(checkpoint=str(pretrained[name])))
    states = train(gan, tmp_path, MINING + 1)
    source = torch.load(pretrained[name])
    parameters = dict(gan.generator.named_parameters())
    widened = 'generator.style_mapping.1.linear.weight_orig'
    # the widths of a baseline's norms differ, and those begin anew
    old = {
        key
        for key, value in parameters.items()
        if key in source and (source[key].shape == value.shape or key == widened)
    }
    assert len(old) > 10
    norms = {
        key
        for key in states[0]
        if key.endswith(('weight_u', 'weight_v', 'u0', 'sv0'))
        and {f'{key.rpartition(".")[0]}.{leaf}' for leaf in ('weight', 'weight_orig')} & old
    }
    assert norms or name == 'stylegan2'
    new = {key for key in parameters if key not in old}
    assert any(key.startswith('miner.') for key in new)
    if prior_dim:
        assert any('prior_projection' in key for key in new)
    for update in range(1, MINING + 1):
        before, after = states[update - 1], states[update]
        assert changed(before, after, old | norms) == set()
        assert changed(before, after, new) == new
    before, after = states[MINING], states[MINING + 1]
    assert changed(before, after, new) == new
    assert len(changed(before, after, old)) > 0.8 * len(old)
    assert name == 'stylegan2' or changed(before, after, norms)


@GANS
def test_what_a_checkpoint_does_not_have_learns_where_none_was_loaded(name, tmp_path):
    states = train(build(name), tmp_path, 1)
    learnt = changed(*states, [k for k in states[0] if 'running' not in k and 'num_b' not in k])
    conditional = ('miner.', 'prior_projection.', '.gain', '.bias.', 'w_avg', 'mined_updates')
    assert learnt and all(any(part in key for part in conditional) for key in learnt)


def test_statistics_of_batch_norm_follow_the_mined_images(pretrained, tmp_path):
    gan = build('biggan', pretrained=dict(checkpoint=str(pretrained['biggan'])))
    states = train(gan, tmp_path, 1)
    means = [key for key in states[0] if key.endswith('running_mean')]
    assert changed(*states, means) == set(means)


@pytest.mark.parametrize('begun', [1, MINING])
def test_a_resumed_run_goes_on_with_its_phase(begun, pretrained, tmp_path):
    options = dict(pretrained=dict(checkpoint=str(pretrained['biggan'])))
    train(build('biggan', **options), tmp_path, begun)
    file = str(tmp_path / f'iter_{begun * DISC_STEPS}.pth')
    states = train(build('biggan', **options), tmp_path, begun + 1, load_from=file, resume=True)
    key = 'generator.noise2feat.weight'
    assert changed(states[0], states[-1], [key]) == (set() if begun < MINING else {key})
    assert changed(states[0], states[-1], ['miner.0.weight'])


@GANS
@torch.no_grad()
def test_the_generator_gets_mined_noise(name):
    gan = build(name).eval()
    outer, inner = gan.generator, gan.generator.generator
    noise, prior = draw(gan)
    fixed = dict(randomize_noise=False) if name == 'stylegan2' else {}
    made = outer(noise, prior=prior, **fixed)
    assert_close_to_scale(made, inner(outer.miner(noise), prior=prior, **fixed))
    assert (made - inner(noise, prior=prior, **fixed)).abs().max() > 1e-3
    out = outer(noise, prior=prior, return_noise=True, **fixed)
    assert torch.equal(out['noise_batch'], noise) and torch.equal(out['fake_img'], made)
    assert torch.equal(outer(lambda size: noise, prior=prior, num_batches=3, **fixed), made)
    assert outer(None, prior=prior, num_batches=3, **fixed).shape == made.shape


@torch.no_grad()
def test_noise_is_clamped_before_the_miner_and_styles_mixed_behind_it():
    gan = build('biggan').eval()
    noise, prior = torch.randn(3, NOISE) * 3, torch.randn(3, PRIOR_DIM)
    made = gan.generator(noise, prior=prior, truncation=0.5)
    assert_close_to_scale(made, gan.generator(noise.clamp(-0.5, 0.5), prior=prior))
    styled = build('stylegan2').eval().generator
    pair, options = [noise, noise + 1], dict(randomize_noise=False, prior=prior)
    mixed = styled(pair, inject_index=1, **options)
    mined = [styled.miner(part) for part in pair]
    assert_close_to_scale(mixed, styled.generator(mined, inject_index=1, **options))
    latent = styled.generator(mined[0], return_latents=True, **options)['latent']
    as_style = styled([latent], input_is_latent=True, **options)
    assert_close_to_scale(as_style, styled(noise, **options))
    made = styled(noise, truncation=0.5, **options)
    assert_close_to_scale(made, styled.generator(mined[0], truncation=0.5, **options))


@torch.no_grad()
def test_the_miners_are_the_published_ones():
    noise = torch.randn(5, NOISE)
    first, _, second = miner = Miner(NOISE)
    hidden = (noise.double() @ first.weight.double().T + first.bias).relu()
    expected = hidden @ second.weight.double().T + second.bias
    assert_close_to_scale(miner(noise), expected.float())
    linear = Miner(NOISE, linear=True).eval()
    assert len(linear) == 4
    zero = linear(torch.zeros(1, NOISE))
    # orthogonal: normal noise stays normal noise, and so does its distance
    assert_close_to_scale((linear(noise) - zero).norm(dim=1), noise.norm(dim=1))
    forms = {name: build(name).generator.miner for name in TYPE}
    assert {name: len(form) for name, form in forms.items()} == dict(sngan=4, biggan=4, stylegan2=3)


@GANS
@torch.no_grad()
def test_weights_find_the_generator_behind_the_miner(name, pretrained):
    plain, mined = build(name, mined=False), build(name)
    expected = load_pretrained(plain, str(pretrained[name]))
    report = load_pretrained(mined, str(pretrained[name]))
    loaded = {key for key in expected.loaded if key.startswith('generator.')}
    for ours, theirs in (
        (mined.generator.generator, plain.generator),
        (mined.generator_ema.module.generator, plain.generator_ema.module),
    ):
        own = {
            key: value for key, value in theirs.state_dict().items() if f'generator.{key}' in loaded
        }
        assert own and all(torch.equal(ours.state_dict()[key], own[key]) for key in own)
    assert len(report.loaded) == len(expected.loaded)
    assert mined.generator.loaded_names == {key.removeprefix('generator.') for key in loaded}
    assert {'generator.miner.0.weight', 'generator.mined_updates'} <= set(report.new)


@GANS
@torch.no_grad()
def test_images_are_sampled_and_inverted_through_the_average_of_the_miner(name, pretrained):
    gan = build(name, pretrained=dict(checkpoint=str(pretrained[name])))
    gan.init_weights()
    gan.eval()
    assert (gan.noise_size, gan.generator.prior_dim) == (NOISE, PRIOR_DIM)
    noise, prior = draw(gan)
    inputs = dict(noise=noise, prior=prior, sample_model='ema')
    first = [sample.fake_img.data for sample in gan(dict(inputs))]
    gan.generator_ema.module.miner[-1].bias.add_(1)
    again = [sample.fake_img.data for sample in gan(dict(inputs))]
    assert not any(torch.equal(*pair) for pair in zip(first, again, strict=True))
    generator = gan.generator
    prior_embs = generator.prior_projection(prior)
    blocks = len(generator.convs) // 2 + 1 if name == 'stylegan2' else 3
    made = generate_by_blocks(generator, noise, prior_embs[:, None].expand(-1, blocks, -1))
    fixed = dict(randomize_noise=False) if name == 'stylegan2' else {}
    assert_close_to_scale(made, generator(noise, prior=prior, **fixed))


@pytest.mark.parametrize('name', ['sngan', 'biggan'])
@torch.no_grad()
def test_a_class_conditional_generator_of_mmagic_gets_its_label_and_its_weights(name):
    plain = make_gan(name, True, generator=dict(num_classes=5)).generator
    config = gan_config(name, True, generator=dict(num_classes=5))['generator']
    mined = MinedGenerator(config, mining_iters=1)
    outcome = mined.load_state_dict(plain.state_dict(), strict=False)
    assert outcome.unexpected_keys == []
    assert {key.split('.')[0] for key in outcome.missing_keys} == {'miner', 'mined_updates'}
    noise, label = torch.randn(2, NOISE), torch.tensor([3, 1])
    made = mined.eval()(noise, label=label)
    assert_close_to_scale(made, plain.eval()(mined.miner(noise), label=label))
    frozen = {id(parameter) for *_, parameter in mined._list_pretrained()}
    assert frozen == {id(parameter) for parameter in mined.generator.parameters()}


def test_both_phases_run_distributed(pretrained, tmp_path):
    hub = MessageHub.get_instance('mine_distributed')
    torch.distributed.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        gan = build('stylegan2', pretrained=dict(checkpoint=str(pretrained['stylegan2'])))
        gan.init_weights()
        wrapper = dict(type='MMSeparateDistributedDataParallel', module=gan)
        options = dict(broadcast_buffers=False, find_unused_parameters=True)
        wrapped = MODEL_WRAPPERS.build({**wrapper, **options})
        generator = wrapped.module.generator
        key = 'conv1.conv.weight_orig'
        weight = dict(generator.module.generator.named_parameters())[key]
        for update in range(1, MINING + 2):
            hub.update_info('iter', update, resumed=False)
            noise, prior = draw(gan)
            generator(noise, prior=prior).square().mean().backward()
            assert (weight.grad is not None) == (update > MINING)
    finally:
        torch.distributed.destroy_process_group()


@GANS
def test_the_option_of_the_gan_is_the_generator_of_a_config(name):
    stated = dict(type='MinedGenerator', generator=f'DISP{TYPE[name]}Generator')
    by_option = build(name)
    by_config = build(name, mined=False, generator=dict(stated, mining_iters=MINING))
    pairs = zip(by_option.state_dict().items(), by_config.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)
    assert isinstance(by_option.generator_ema.module, MinedGenerator)
    with pytest.raises(ValueError, match='the generator is a MinedGenerator already'):
        build(name, generator=dict(stated, mining_iters=MINING))


@pytest.mark.parametrize(
    'config', ['disp_sngan_faces100.py', 'disp_biggan_digits.py', 'disp_stylegan2_digits.py']
)
def test_the_technique_puts_a_miner_into_any_config(config):
    cfg = load_config(CONFIGS / config, techniques=['minegan'])
    gan = MODELS.build({**cfg.model, 'prior_dim': 16})
    assert isinstance(gan.generator, MinedGenerator) and gan.generator.mining_iters == 300
    assert cfg.model_wrapper_cfg.find_unused_parameters


def test_numbers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match='mining_iters is -1; it must be 0 or more'):
        MinedGenerator(torch.nn.Identity(), mining_iters=-1)
    with pytest.raises(ValueError, match='num_layers of a Miner is 0; it must be 1 or more'):
        Miner(4, num_layers=0)


def test_a_compiled_generator_is_refused():
    with pytest.raises(ValueError, match='MinedGenerator takes no compile_networks'):
        build('sngan', compile_networks=True)


def test_a_checkpoint_with_a_miner_is_not_taken_by_a_generator_without(tmp_path, capsys):
    mined = build('sngan')
    mined.init_weights()
    assert 'a MinedGenerator is given without' in ''.join(capsys.readouterr())
    torch.save({'state_dict': mined.state_dict()}, tmp_path / 'mined.pth')
    with pytest.raises(ValueError, match=r'none of the \d+ entries of generator.\* has a place'):
        load_pretrained(build('sngan', mined=False), str(tmp_path / 'mined.pth'))
