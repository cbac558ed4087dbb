"""Models of timm as encoders."""

from pathlib import Path
from typing import TypedDict

from mmagic.registry import MODELS
from torch import Tensor

from disp_plugin.weights import list_some, read_weights

from .backbone import POOLED, NetworkArgs, find_library, seeded, spell_arguments
from .base_encoder import Preprocessing, PriorEncoder
from .fetch_weights import fetch_from_hub, fetch_url, find_local


class DataConfig(TypedDict):
    """What ``timm.data.resolve_model_data_config`` returns, as far as it is read here."""

    input_size: tuple[int, int, int]
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@MODELS.register_module()
class TimmEncoder(PriorEncoder):
    """The pooled features of any model of timm, with the preprocessing of its weights.

    The prior is what enters the classification layer: the pooled features, or the class token where
    the model has one.

    Args:
        model (str): Name of the model, with or without the tag of its weights
            ('resnet50.a1_in1k').
        checkpoint (str | None): A checkpoint of this model with its head, ``.safetensors`` or
            ``.pth``, as timm publishes it. None takes the cache. Defaults to None.
        download (bool): Whether to download weights that are not cached. Defaults to True.
        preprocessing (dict | None): Another ``Preprocessing`` than timm's. Defaults to None.
        model_kwargs (dict | None): Further arguments of ``timm.create_model``. Defaults to None.
        untrained (bool): Whether to leave the model untrained, as the control to compare with.
            Defaults to False.
        seed (int): Seed of an untrained model. Defaults to 0.
        precision (str): In which type it computes, as in
            :func:`~disp_plugin.precision.choose_precision`. Defaults to 'float32'.

    Raises:
        FileNotFoundError: The weights are neither cached nor downloaded, or ``checkpoint`` is
            missing.
        ValueError: No such model, no weights of it are published, or a checkpoint of another model.
    """

    def __init__(
        self,
        model: str,
        checkpoint: str | None = None,
        download: bool = True,
        preprocessing: dict | Preprocessing | None = None,
        model_kwargs: NetworkArgs | None = None,
        untrained: bool = False,
        seed: int = 0,
        precision: str = 'float32',
    ) -> None:
        import timm  # here, since it takes a second that few runs need

        find_library(f'timm/{model}')
        kwargs = dict(model_kwargs or {})
        if not untrained:
            file = self.find_file(model, checkpoint, download)
            # archives of NumPy arrays need the models' own readers
            state = self.read_state(file) if file.suffix != '.npz' else {}
            source = {'state_dict': state} if state else {'file': str(file)}
            overlay = {'source': 'timm', 'custom_load': not state, **source}
            kwargs.update(pretrained=True, pretrained_cfg_overlay=overlay)
        try:
            with seeded(seed):
                # with the head: only then does timm load strictly
                network = timm.create_model(model, **kwargs)
        except (RuntimeError, KeyError) as error:
            if untrained:
                raise
            reason = ' '.join(str(error).split())[:500]
            raise ValueError(
                f'{file} is not a checkpoint of timm/{model} with its head: it has '
                f'{list_some(state)}; {reason}. For a backbone alone, or one with other names, use '
                'CheckpointEncoder'
            ) from error
        network.pretrained_cfg.pop('state_dict', None)  # type: ignore[union-attr, operator]
        network.reset_classifier(0)  # type: ignore[operator]  # of every model of timm
        if preprocessing is None:
            preprocessing = read_preprocessing(timm.data.resolve_model_data_config(network))
        name = model.split('.')[0] + spell_arguments(model_kwargs)
        super().__init__(
            f'timm/{name}', POOLED, Preprocessing.from_options(preprocessing), precision
        )
        self.network = network
        self.seal()

    def find_file(self, model: str, checkpoint: str | None, download: bool) -> Path:
        """Find the weights of a model: the file given, the cached one, or a download."""
        import timm

        if checkpoint is not None:
            return find_local(checkpoint)
        cfg = timm.models.get_pretrained_cfg(model)
        if cfg is not None and cfg.hf_hub_id:
            names = [cfg.hf_hub_filename] if cfg.hf_hub_filename else []
            names = names or ['model.safetensors', 'pytorch_model.bin']
            return fetch_from_hub(cfg.hf_hub_id, names, f'timm/{model}', download)
        if cfg is not None and cfg.url:
            return fetch_url(str(cfg.url), f'timm/{model}', download)
        raise ValueError(
            f'no weights of timm/{model} are published; set checkpoint= to a file, or '
            'untrained=True for an untrained network'
        )

    def read_state(self, file: Path) -> dict[str, Tensor]:
        """Read the averaged weights of a file where it has some, as timm does."""
        content = read_weights(file).content
        names = ('state_dict_ema', 'model_ema', 'state_dict', 'model')
        return next((content[name] for name in names if content.get(name) is not None), content)


def read_preprocessing(data_config: DataConfig) -> Preprocessing:
    """Read the steps of timm's evaluation transform.

    Raises:
        ValueError: The crop mode is neither 'center' nor 'squash'.
    """
    _, height, width = data_config['input_size']
    scaled = int(height / data_config['crop_pct']), int(width / data_config['crop_pct'])
    mode = data_config['crop_mode']
    if mode not in ('center', 'squash'):
        raise ValueError(
            f"this timm model's images are fitted by crop_mode {mode!r}, which is not known here; "
            'pass preprocessing=dict(resize=..., crop=..., mean=..., std=...)'
        )
    # timm's few models for images that are not square all squash them.
    return Preprocessing(
        scaled[0] if mode == 'center' and height == width else scaled,
        (height, width),
        tuple(data_config['mean']),
        tuple(data_config['std']),
        data_config['interpolation'],
    )
