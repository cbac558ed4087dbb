"""Which images a run trains on, which it has not seen, and how it measures itself by them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmagic.registry import DATASETS
from mmengine.config import Config as RunConfig

from disp_plugin.datasets import read_manifest, split_manifest

from .metric_card import LEAST_FOR_FID, Protocol, Space
from .reference_set import check_disjoint
from .spaces import Config, choose_spaces

__all__ = [
    'add_validation',
    'check_not_chosen_by',
    'find_held_out',
    'find_training_images',
    'name_best',
]

NUM_IMAGES = 2048


def find_training_images(cfg: Config, **changes: object) -> Config:
    """Find the images that a run trains on, as a data set that states its view.

    Another data set than ``ImageFolderDataset`` is taken for a folder of images that training shows
    as central squares of the model's size.

    Args:
        cfg (Config): The run's config.
        **changes: Fields to replace, such as ``ann_file`` or ``flip``.

    Returns:
        Config: Config of an ``ImageFolderDataset`` without bank and wrappers.

    Raises:
        ValueError: The data set has no folder.
    """
    dataset = cfg['train_dataloader']['dataset']
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if dataset['type'] == 'ImageFolderDataset' and not dataset.get('pipeline'):
        drawn = ('bank_file', 'num_neighbors', 'seed')
        plain = {key: value for key, value in dataset.items() if key not in drawn}
        return {**plain, **changes}
    if not dataset.get('data_root'):
        raise ValueError(
            f'the training set is a {dataset["type"]} without data_root; give the metrics '
            "train_dataset=dict(type='ImageFolderDataset', data_root=..., image_size=...)"
        )
    folder = (dataset.get('data_prefix') or {}).get('gt', '')
    steps = [str(step['type']).split('.')[-1] for step in dataset.get('pipeline', ())]
    stated = dict(
        type='ImageFolderDataset',
        data_root=str(Path(dataset['data_root'], folder)),
        ann_file=dataset.get('ann_file', ''),
        image_size=find_image_size(cfg),
        flip='Flip' in steps,
        **({'indices': dataset['indices']} if 'indices' in dataset else {}),
    )
    return {**stated, **changes}


def find_image_size(cfg: Config) -> int | None:
    """Find the side of a run's images in its config; None where it does not say."""
    model = cfg.get('model') or {}
    generator = model.get('generator') or {}
    sizes = (model.get('image_size'), generator.get('output_scale'), generator.get('out_size'))
    return next((size for size in sizes if isinstance(size, int)), None)


def find_held_out(
    cfg: Config, held_out: str | None, split: str | None = None
) -> tuple[Config, str]:
    """Find images that a run has not been trained on.

    Args:
        cfg (Config): The run's config.
        held_out (str | None): A folder, or a manifest; its paths start at the folder of the
            training images or, where no such images are there, at its own. None takes the config's
            ``test_dataloader``.
        split (str | None): A name for them. Defaults to None: 'test' for a folder, the manifest's
            name, or what the config says.

    Returns:
        tuple[Config, str]: Config of the data set, unmirrored, and the name.

    Raises:
        FileNotFoundError: There is no such folder or manifest.
        ValueError: None are named, or some of them are training images.
    """
    if held_out is None:
        test = cfg.get('test_dataloader')
        if not test:
            raise ValueError(
                'the config has no test_dataloader: name unseen images by --held-out, a folder or '
                'a manifest in the folder of the training images'
            )
        name = (cfg.get('test_evaluator') or {}).get('split', 'test')
        return find_training_images({**cfg, 'train_dataloader': test}, flip=False), split or name
    train = find_training_images(cfg, flip=False)
    data_root, _ = split_manifest(str(train['data_root']))
    root, given = Path(data_root), Path(held_out)
    if given.is_dir():
        changes, name = {'data_root': str(given), 'ann_file': ''}, 'test'
    elif (root / given).is_file() or given.is_file():
        file, name = (root / given if (root / given).is_file() else given.absolute()), given.stem
        changes = {'data_root': data_root, 'ann_file': str(given if root / given == file else file)}
        if not any((root / key).is_file() for key in read_manifest(file, root)):
            changes = {'data_root': str(file.parent), 'ann_file': file.name}
    else:
        raise FileNotFoundError(
            f'--held-out {given} is neither a folder nor a manifest, here or in {root}'
        )
    dataset = {**train, **changes}
    dataset.pop('indices', None)  # a choice among the training images
    seen, unseen = (DATASETS.build(dict(each)).image_paths for each in (train, dataset))
    check_disjoint(seen, unseen, f'--held-out {held_out}')
    return dataset, split or name


def check_not_chosen_by(cfg: Config, loader: object, split: str, snapshot: str) -> None:
    """Raise if held-out images are those by which a run chooses its best snapshot.

    The best of many snapshots on some images is partly luck with these images.

    Args:
        cfg (Config): The run's config, whose ``val_dataloader`` chooses.
        loader (object): That of the images to report on, as in a config.
        split (str): What messages call these images.
        snapshot (str): What messages call the snapshot.

    Raises:
        ValueError: Some are, or more than 1 % are copies.
    """
    choosing, reporting = _list_paths(cfg, cfg.get('val_dataloader')), _list_paths(cfg, loader)
    check_disjoint(
        choosing,
        reporting,
        f'the split {split}',
        f'the images that chose {snapshot}',
        'report on others (tools/evaluate.py --held-out), or on a snapshot that none chose, such '
        'as the last, iter_N.pth',
    )


def _list_paths(cfg: Config, loader: object) -> list[str]:
    """List the images of a loader's config; none where it does not say them, or they are gone."""
    if not isinstance(loader, Mapping):
        return []
    try:
        dataset = find_training_images({**cfg, 'train_dataloader': loader}, flip=False)
        return DATASETS.build(dict(dataset)).image_paths
    except (LookupError, OSError, ValueError):
        return []


def add_validation(
    cfg: RunConfig,
    held_out: str,
    spaces: Mapping[str, object] | None = None,
    interval: int | None = None,
    patience: int | None = None,
) -> str:
    """Have a run measure itself on held-out images, and keep its best snapshot.

    What a ``StandardEvaluator`` of the config's own states, such as ``fake_nums``, holds on.

    Args:
        cfg (RunConfig): Config of a run. It is changed in place and then says all of it.
        held_out (str): Folder or manifest, as for :func:`find_held_out`.
        spaces (Mapping[str, object] | None): As for :func:`choose_spaces`. Defaults to None: those
            of the config's validation, else 'clean' and 'prior'.
        interval (int | None): Iterations between validations. Defaults to None: between
            checkpoints.
        patience (int | None): Stop after this many validations without a better one. Defaults to
            None: go on to the end.

    Returns:
        str: Name of the metric that chooses the snapshot.

    Raises:
        FileNotFoundError: There is no such folder or manifest.
        ValueError: Held-out images are training images or fewer than 2, or an option is out of
            range.
    """
    for name, value in (('the validation interval', interval), ('patience', patience)):
        if value is not None and value < 1:
            raise ValueError(f'{name} must be at least 1, but is {value}')
    dataset, split = find_held_out(cfg, held_out, 'val')
    own = dict(cfg.get('val_evaluator') or {})
    if own.get('type', 'StandardEvaluator') != 'StandardEvaluator':
        own = {}  # one of mmagic's
    chosen = choose_spaces(spaces, {**cfg, 'test_evaluator': own})
    interval = interval or cfg.default_hooks.checkpoint.interval
    cfg.val_dataloader = dict(
        batch_size=cfg.train_dataloader.batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset,
    )
    cfg.val_cfg = dict(type='MultiValLoop')
    stated = dict(type='StandardEvaluator', metrics=None, fake_nums=NUM_IMAGES, split=split)
    cfg.val_evaluator = {**stated, **own, 'spaces': chosen}
    cfg.train_cfg.update(val_begin=interval, val_interval=interval)
    name = name_best(cfg)
    cfg.default_hooks.checkpoint.update(save_best=name, rule='less')
    if patience is not None:
        hook = dict(type='ResumableEarlyStoppingHook', monitor=name, rule='less', patience=patience)
        cfg.custom_hooks = [*cfg.custom_hooks, hook]
    return name


def name_best(cfg: RunConfig) -> str:
    """Name the metric of a validation that should choose the best snapshot.

    It is FID in the first space, or KID where there are too few images for FID.

    Raises:
        ValueError: The validation measures neither, or has fewer than 2 images.
    """
    evaluator = cfg.val_evaluator
    num_held_out = len(DATASETS.build(cfg.val_dataloader.dataset.to_dict()))
    if num_held_out < 2:
        raise ValueError('a metric needs at least 2 held-out images, but there is 1')
    options, measured = evaluator.get('options') or {}, evaluator.get('metrics') or ('fid', 'kid')
    nums = {
        name: options.get(name, {}).get('fake_nums', evaluator.fake_nums)
        for name in ('fid', 'kid')
        if name in measured
    }
    if not nums:
        raise ValueError(
            'val_evaluator.metrics has neither fid nor kid to choose the best snapshot by; add one'
        )
    is_enough = min(num_held_out, nums.get('fid', 0)) >= LEAST_FOR_FID
    metric = 'fid' if is_enough or 'kid' not in nums else 'kid'
    space = Space(next(iter(evaluator.spaces)))
    return Protocol(metric, evaluator.split, nums[metric], space=space).name
