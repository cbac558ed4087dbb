"""The evaluator's numbers are those of the functions, on samples drawn in another way."""

import copy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.registry import DATASETS, EVALUATORS, METRICS

from disp_plugin.applications import draw_inputs, sample_images
from disp_plugin.encoders import PixelEncoder
from disp_plugin.evaluation.evaluate_gan import evaluate_gan, evaluate_images
from disp_plugin.evaluation.metrics.distances import frechet_distance, kernel_distance
from disp_plugin.evaluation.metrics.manifold_scores import manifold_scores
from disp_plugin.evaluation.metrics.memorization import data_copying, memorization_floor
from disp_plugin.evaluation.reference_set import ReferenceSet
from tests.gans import make_gan

PIXELS = dict(type='PixelEncoder', size=4)
NEIGHBORS = dict(precision_neighbors=[4], recall_neighbors=[6], density_neighbors=3)
# Samples in batches of other sizes differ by float32's rounding, and now and then by one of 255
# steps after it; all numbers here are smooth in the features, or counts that do not change.
CLOSE = dict(rel=1e-3, abs=1e-6)


@pytest.fixture
def evaluator(train_cfg, tmp_path):
    def build(**fields):
        defaults = dict(
            spaces=dict(pixels=PIXELS),
            metrics=['fid', 'kid', 'precision_recall', 'copying', 'floor'],
            train_dataset=train_cfg,
            fake_nums=30,
            options=dict(precision_recall=NEIGHBORS, copying=dict(num_cells=1)),
            cache_dir=str(tmp_path),
        )
        return EVALUATORS.build(dict(type='StandardEvaluator', **{**defaults, **fields}))

    return build


def values(cards):
    return {card.name: card.value for card in cards}


def sample(evaluator, gan, held_out):
    """Prepare an evaluator and show it the samples, as mmagic's loop does."""
    loader = SimpleNamespace(dataset=held_out, batch_size=8)
    evaluator.prepare_metrics(gan, loader)
    for metrics, batches in evaluator.prepare_samplers(gan, loader):
        for batch in batches:
            evaluator.process(gan.test_step(batch), batch, metrics)
    return evaluator


@pytest.mark.parametrize('batch_size', [7, 64])
def test_numbers_are_those_of_the_functions(
    evaluator, gan, held_out, held_out_cfg, train_cfg, pixels_of, encode, batch_size
):
    found = values(evaluate_gan(gan, evaluator(), held_out, batch_size))
    rgb = np.concatenate(list(sample_images(gan, *draw_inputs(gan, 30, seed=0), batch_size)))
    generated = encode(torch.from_numpy(rgb).permute(0, 3, 1, 2))
    train = pixels_of(train_cfg)
    mirrored = encode(torch.cat([train, train.flip(3)]))  # a mirrored copy is a copy
    real = encode(pixels_of(held_out_cfg))
    scores = manifold_scores(generated, real, (4,), (6,), 3)
    floor = memorization_floor(encode(train), real, 30, 0)
    assert found == pytest.approx(
        {
            'fid30_val_pixels': frechet_distance(generated, real).value,
            'kid30_val_pixels': kernel_distance(generated, real).value,
            'precision30_k4_val_pixels': scores['precision', 4].value,
            'recall30_k6_val_pixels': scores['recall', 6].value,
            'density30_val_pixels': scores['density', 3].value,
            'coverage30_val_pixels': scores['coverage', 3].value,
            'copying30_val_pixels': data_copying(generated, mirrored, real, 1, 5, 0).value,
            'fid_floor30_val_pixels': floor['fid'].value,
            'kid_floor30_val_pixels': floor['kid'].value,
        },
    )


def test_cards_carry_the_protocol(evaluator, gan, held_out):
    metrics = ['kid', 'copying', 'floor', 'disc_gap']
    options = dict(split='test', seed=3, encoder=PIXELS)
    found = evaluate_gan(gan, evaluator(metrics=metrics, **options), held_out)
    cards = {card.protocol.metric: card for card in found}
    kid, copying = cards['kid'], cards['copying']
    is_mirrored = {name: card.protocol.train.flips for name, card in cards.items() if name != 'kid'}
    assert is_mirrored.pop('copying') and len(is_mirrored) == 4 and not any(is_mirrored.values())
    assert kid.name == 'kid30_test_pixels' and kid.standard_deviation > 0
    assert kid.protocol.reference.num == 20 and kid.protocol.train is None
    assert copying.protocol.train.num == 24 and copying.protocol.parameters == {'cells': 1}
    assert len(copying.details['trials']) == 5
    assert kid.protocol.space.fingerprint == PixelEncoder(4).fingerprint()
    protocol = kid.protocol
    assert (protocol.seed, protocol.sample_model, protocol.num_generated) == (3, 'orig', 30)


def test_what_a_config_does_not_state_is_the_runs_own(evaluator, gan, held_out, train_cfg):
    spaces = dict(pixels=dict(type='PixelEncoder', size=2), prior='encoder')
    built = evaluator(spaces=spaces, train_dataset=None, metrics=None, options=None)
    built.use_run(PIXELS, train_cfg)
    found = values(evaluate_gan(gan, built, held_out))
    assert {'kid30_val_prior', 'copying30_val_pixels', 'disc_gap_val'} <= set(found)
    stated = evaluator(metrics=['kid', 'copying'], options=None, encoder=PIXELS, spaces=spaces)
    stated.use_run(None, None)
    again = values(evaluate_gan(gan, stated, held_out))
    assert again.items() <= found.items()
    alone = evaluator(spaces=spaces, train_dataset=None, metrics=None, options=None)
    names = set(values(evaluate_gan(gan, alone, held_out)))  # a run without priors hands in nothing
    assert 'kid30_val_pixels' in names and not any('prior' in n or 'copying' in n for n in names)


def test_another_seed_gives_other_samples_and_the_same_seed_the_same(evaluator, gan, held_out):
    torch.manual_seed(1)
    first = values(evaluate_gan(gan, evaluator(metrics=['kid']), held_out))
    torch.manual_seed(2)
    again = values(evaluate_gan(gan, evaluator(metrics=['kid']), held_out))
    assert first == again
    for change in (dict(seed=1), dict(truncation=0.1)):
        assert values(evaluate_gan(gan, evaluator(metrics=['kid'], **change), held_out)) != first


def test_what_cannot_be_computed_is_left_out_and_said(evaluator, gan, held_out):
    neighbors = dict(precision_recall=dict(density_neighbors=20))
    built = evaluator(metrics=['precision_recall', 'fid'], options=neighbors)
    cards = evaluate_gan(gan, built, held_out)
    assert [card.protocol.metric for card in cards] == ['fid']
    (reason,) = built.left_out
    assert 'PrecisionRecallMetric is left out' in reason and '20' in reason
    neighbors = dict(precision_recall=dict(recall_neighbors=[40, 3], precision_neighbors=[20]))
    built = evaluator(metrics=['precision_recall'], options=neighbors)
    found = {(c.protocol.metric, c.protocol.k) for c in evaluate_gan(gan, built, held_out)}
    assert found == {('recall', 3), ('density', 5), ('coverage', 5)}  # other k are computed


def test_a_diverged_generator_is_no_best_snapshot(evaluator, gan, held_out):
    diverged = copy.deepcopy(gan)
    for value in diverged.generator.parameters():
        value.data.fill_(float('nan'))
    built = sample(evaluator(metrics=['kid', 'copying']), diverged, held_out)
    assert built.evaluate() == {'kid30_val_pixels': None}
    assert len(built.left_out) == 2 and '30 of 30 generated images' in built.left_out[0]
    whole = evaluate_gan(gan, evaluator(metrics=['kid']), held_out)  # shared nothing of it
    assert len(whole) == 1


def test_damaged_and_wrong_real_images_stop_everything(
    evaluator, gan, train_cfg, view, make_image_folder, tmp_path
):
    damaged = view(4, seed=7)
    (Path(damaged['data_root']) / 'zzz.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'(?s)the val images: .*zzz\.png'):
        evaluate_gan(gan, evaluator(), DATASETS.build(damaged))
    with pytest.raises(ValueError, match='24 of the 24 images of the split val are training'):
        evaluate_gan(gan, evaluator(), DATASETS.build(train_cfg))
    copies = tmp_path / 'copies'
    shutil.copytree(train_cfg['data_root'], copies)
    copied = dict(train_cfg, data_root=str(copies))
    with pytest.raises(ValueError, match='24 of the 24 images of the split val are copies'):
        evaluate_gan(gan, evaluator(), DATASETS.build(copied))


def test_classes_of_mmagics_gans_are_drawn_by_the_seed(evaluator, held_out):
    gan = make_gan('biggan', stock=True, discriminator=None).eval()
    first, again = (
        values(evaluate_gan(gan, evaluator(metrics=['kid']), held_out, size)) for size in (7, 16)
    )
    assert first == pytest.approx(again, **CLOSE)
    other = values(evaluate_gan(gan, evaluator(metrics=['kid'], seed=1), held_out))
    assert first != pytest.approx(other, **CLOSE)
    with pytest.raises(ValueError, match='no EMA generator'):
        evaluate_gan(gan, evaluator(sample_model='ema'), held_out)


def test_files_are_evaluated_as_samples_are(
    evaluator, train_cfg, held_out_cfg, held_out, pixels_of, encode, tmp_path
):
    images = ReferenceSet(DATASETS.build(train_cfg), 'generated', tmp_path)
    built = evaluator(metrics=['fid', 'kid'], fake_nums=24)
    found = values(evaluate_images(images, built, held_out, batch_size=5))
    train, real = encode(pixels_of(train_cfg)), encode(pixels_of(held_out_cfg))
    fid, kid = frechet_distance(train, real).value, kernel_distance(train, real).value
    assert found == pytest.approx({'fid24_val_pixels': fid, 'kid24_val_pixels': kid})


def test_processes_sample_what_one_would(evaluator, gan, held_out, monkeypatch):
    """Rank by rank, with the gathering of both in the place of a process group."""
    from disp_plugin.evaluation.metrics import gan_metric, seeded_batches

    (whole,) = evaluate_gan(gan, evaluator(metrics=['kid'], fake_nums=31), held_out)
    for module in (gan_metric, seeded_batches):
        monkeypatch.setattr(module, 'get_world_size', lambda: 2)
    monkeypatch.setattr('mmagic.evaluation.metrics.base_gen_metric.get_world_size', lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(seeded_batches, 'get_rank', lambda rank=rank: rank)
        built = sample(evaluator(metrics=['kid'], fake_nums=31), gan, held_out)
        shares.append(torch.cat(built.metrics[0]._features))
    assert [len(share) for share in shares] == [16, 16]
    monkeypatch.setattr(gan_metric, 'all_gather', lambda own: shares)
    assert built.metrics[0].evaluate() == pytest.approx({whole.name: whole.value}, **CLOSE)


def test_samples_that_cannot_be_shared_are_refused(gan, held_out, tmp_path):
    kid = dict(type='KernelDistanceMetric', encoder=PIXELS, space='pixels', cache_dir=str(tmp_path))
    metrics = [dict(kid), dict(kid, space='again', seed=1)]
    with pytest.raises(ValueError, match=r'differ in seed: \[0, 1\]'):
        sample(EVALUATORS.build(dict(type='Evaluator', metrics=metrics)), gan, held_out)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        (dict(metrics=['fid', 'lpips']), "'lpips' are unknown; known are fid, kid"),
        (dict(options=dict(precission=dict())), "options of metrics 'precission' are unknown"),
        (dict(spaces=dict(a=None)), 'at least one space'),
        (dict(spaces=dict(a='clean')), "or 'encoder', not 'clean'"),
    ],
)
def test_wrong_configs_are_refused(evaluator, fields, message):
    with pytest.raises(ValueError, match=message):
        evaluator(**fields)


def test_a_distance_of_one_image_is_refused():
    with pytest.raises(ValueError, match='at least 2 images, but fake_nums is 1'):
        METRICS.build(
            dict(type='KernelDistanceMetric', encoder=PIXELS, space='pixels', fake_nums=1)
        )
