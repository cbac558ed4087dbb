"""A checkpoint's config is read as text, and never executed."""

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config

from disp_plugin.applications import load_gan
from disp_plugin.applications.load_gan import find_checkpoint
from disp_plugin.literals import parse_config_text
from tests.gans import TYPE, gan_config


def test_what_mmengine_writes_is_read_back():
    fields = dict(
        a=1,
        b=[-1.5, 1e-06, None, True],
        c=dict(type='X', betas=(0.0, 0.9), names={'not an identifier': 2}),
        d="it's \\ 'quoted'\nand broken",
        e=dict(),
    )
    assert parse_config_text(Config(fields).pretty_text).to_dict() == fields


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = open("x", "w")',
        'a = dict(b=__import__("os").system("true"))',
        'a = [x for x in (1, 2)]',
        'a = dict(**{})',
        'a = 1\nprint(a)',
        'a = b',
        'a.b = 1',
        'a = (lambda: 1)()',
        'a = dict([(1, 2)])',
    ],
)
def test_anything_that_could_run_is_refused(text):
    with pytest.raises(ValueError, match=r'of the config is no'):
        parse_config_text(text)


def test_a_checkpoint_that_brings_code_as_its_config_does_not_run_it(tmp_path):
    executed = tmp_path / 'executed'
    text = f'model = dict(type="BigGAN")\nx = open({str(executed)!r}, "w")'
    torch.save({'state_dict': {}, 'meta': {'cfg': text}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'line 2 of the config is no literal.*--config'):
        load_gan(tmp_path / 'x.pth')
    assert not executed.exists()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'weights': {}}, 'it has no state_dict'),
        ({'state_dict': {}}, 'holds no config'),
        ({'state_dict': {}, 'meta': {'cfg': None}}, 'holds no config'),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=message):
        load_gan(tmp_path / 'x.pth')


def save_tiny(path, **entries):
    """Save a tiny GAN with its config, and with other entries in its state."""
    model = gan_config('biggan', prior_dim=0)
    state = {**MODELS.build(model).state_dict(), **entries}
    torch.save({'state_dict': state, 'meta': {'cfg': Config(dict(model=model)).pretty_text}}, path)
    return state


def test_weights_of_another_model_are_refused(tmp_path):
    save_tiny(tmp_path / 'x.pth', x=torch.ones(1))
    with pytest.raises(ValueError, match='does not fit the model of its config: .*besides x;'):
        load_gan(tmp_path / 'x.pth')


@pytest.mark.parametrize('kind', sorted(TYPE))
@pytest.mark.parametrize('part', ['generator', 'generator_ema', 'discriminator'])
def test_weights_that_are_not_finite_are_refused_by_their_network(tmp_path, kind, part):
    model = gan_config(kind, ema_config=dict(type='ExponentialMovingAverage'))
    state = MODELS.build(model).state_dict()
    name = next(k for k, v in state.items() if k.startswith(f'{part}.') and v.dim() > 1)
    state[name].view(-1)[0] = float('nan')
    config = Config(dict(model=model)).pretty_text
    torch.save({'state_dict': state, 'meta': {'cfg': config}}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=rf'x.pth cannot be used: {part} is not finite: NaN or'):
        load_gan(tmp_path / 'x.pth')


def test_a_work_folder_stands_for_its_last_checkpoint(tmp_path):
    save_tiny(tmp_path / 'iter_10.pth')
    last = save_tiny(tmp_path / 'iter_9.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_9.pth'))
    gan, _ = load_gan(tmp_path)
    for name, value in gan.state_dict().items():
        assert torch.equal(value, last[name]), name


def test_a_work_folder_that_moved_or_saved_elsewhere_is_read(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/gone/iter_4.pth')
    (tmp_path / 'iter_4.pth').touch()
    assert find_checkpoint(tmp_path) == tmp_path / 'iter_4.pth'
    (tmp_path / 'elsewhere').mkdir()
    file = (tmp_path / 'iter_4.pth').rename(tmp_path / 'elsewhere' / 'iter_4.pth')
    (tmp_path / 'last_checkpoint').write_text(str(file))
    assert find_checkpoint(tmp_path) == file


def test_a_folder_without_a_checkpoint_is_refused_by_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='without the file last_checkpoint'):
        load_gan(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('/gone/iter_4.pth')
    with pytest.raises(FileNotFoundError, match='names /gone/iter_4.pth, which does not exist'):
        load_gan(tmp_path)


def test_a_damaged_newest_checkpoint_is_named_with_the_newest_whole_one(tmp_path):
    for iteration in (2, 4):
        save_tiny(tmp_path / f'iter_{iteration}.pth')
    (tmp_path / 'last_checkpoint').write_text('iter_6.pth')
    (tmp_path / 'iter_6.pth').write_bytes(b'')
    with pytest.raises(ValueError, match='iter_6.pth is empty.*whole is .*iter_4.pth: give that'):
        load_gan(tmp_path)
