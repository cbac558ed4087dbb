import pytest
import torch

from tests.test_hooks.tiny_runs import build_runner, gan_cfg, save_bank


@pytest.fixture(scope='session')
def data(tmp_path_factory, make_image_folder):
    """A folder of ten images and the file of its bank, with priors of both flip views."""
    folder = make_image_folder(tmp_path_factory.mktemp('data') / 'images', num=10, size=20)
    priors = torch.randn(10, 2, 6, generator=torch.Generator().manual_seed(0))
    return folder, save_bank(folder.parent / 'bank.safetensors', priors)


@pytest.fixture(scope='session')
def make(data, tmp_path_factory):
    """A function (model, or its name; max_iters; parts of the config) -> Runner."""

    def make(model='sngan', max_iters=2, bank_file=data[1], **options):
        model = gan_cfg(model) if isinstance(model, str) else model
        work_dir = tmp_path_factory.mktemp('run')
        return build_runner(data[0], bank_file, model, work_dir, max_iters, **options)

    return make


@pytest.fixture(scope='session')
def train(make):
    """The same, trained."""

    def train(*args, **options):
        runner = make(*args, **options)
        runner.train()
        return runner

    return train


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that training draws in this process, in order; none is kept."""
    from disp_plugin.datasets import image_folder_dataset

    monkeypatch.setattr(image_folder_dataset, 'free_memory', lambda: 0)
    names = []
    decode = image_folder_dataset.decode_image
    monkeypatch.setattr(
        image_folder_dataset,
        'decode_image',
        lambda path, *options: names.append(path) or decode(path, *options),
    )
    return names
