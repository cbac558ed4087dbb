import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.dataset.utils import pseudo_collate

import disp_plugin.register  # noqa: F401


def make_batch(inputs=(), **fields):
    samples = []
    for index in range(4):
        meta = dict(sample_idx=index, gt_path=f'{index}.png', gt_channel_order='bgr')
        sample = DataSample(
            gt_img=torch.randint(
                0, 256, (3, 8, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(index)
            ),
            gt_prior=torch.full((5,), float(index)),
            metainfo={**meta, 'gt_color_type': 'color'},
        )
        if 'label' in fields:
            sample.set_gt_label(index)
        samples.append({'inputs': dict(inputs), 'data_samples': sample})
    return pseudo_collate(samples)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'batch',
    [{}, dict(label=True), dict(inputs={'img': torch.ones(3, 8, 6, dtype=torch.uint8)})],
    ids=['ours', 'with labels', 'with inputs'],
)
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(output_channel_order='RGB', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]),
        dict(stack_data_sample=False),
        dict(data_keys=None),
    ],
    ids=['plain', 'rgb', 'unstacked', 'images as they are'],
)
def test_it_gives_what_mmagic_gives_bit_for_bit(options, batch, training):
    results = []
    for kind in ('StackingPreprocessor', 'DataPreprocessor'):
        preprocessor = MODELS.build(dict(type=kind, **options))
        results.append(preprocessor(make_batch(**batch), training))
    ours, theirs = results
    assert ours.keys() == theirs.keys() and ours['inputs'].keys() == theirs['inputs'].keys()
    pair = ours['data_samples'], theirs['data_samples']
    for one, other in [pair] if isinstance(pair[0], DataSample) else zip(*pair, strict=True):
        assert set(one.keys()) == set(other.keys())
        assert set(one.metainfo_keys()) == set(other.metainfo_keys())
        for name in one.keys():  # noqa: SIM118
            value = one.get(name)
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other.get(name)) and value.dtype == other.get(name).dtype
        for name, value in one.metainfo.items():
            assert str(value) == str(other.metainfo[name])  # of tensors, too


def test_a_batch_is_normalized_at_once(monkeypatch):
    preprocessor = MODELS.build(dict(type='StackingPreprocessor'))
    shapes, normalize = [], preprocessor._do_norm
    monkeypatch.setattr(
        preprocessor, '_do_norm', lambda x, on: shapes.append(x.shape) or normalize(x, on)
    )
    preprocessor(make_batch(), True)
    assert shapes == [(4, 3, 8, 6)]
