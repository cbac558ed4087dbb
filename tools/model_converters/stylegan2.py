"""Convert StyleGAN2 weights of NVlabs's or of rosinality's code to mmagic's layout.

    python tools/model_converters/stylegan2.py ffhq-tensors.pth --out checkpoints/ffhq.safetensors

The file holds state dicts as ``G``, ``D`` and ``G_ema`` (NVlabs; a network pickle is not read, the
message says how to save its tensors), or as ``g``, ``d`` and ``g_ema`` (rosinality's training), or
one of them alone.

Values are the same everywhere: weights of unit variance that are scaled at each use, kernels of
up-convolutions as ``conv_transpose2d`` takes them. Names and unit axes differ. Names are those of
training/networks.py in github.com/NVlabs/stylegan2-ada-pytorch and of model.py in
github.com/rosinality/stylegan2-pytorch. Images are RGB.
"""

import re

import network_files
from network_files import Layout, Network
from torch import Tensor

_LINEAR = {'weight': 'linear.weight_orig', 'bias': 'bias'}
_AFFINE = {
    'affine.weight': 'conv.style_modulation.linear.weight_orig',
    'affine.bias': 'conv.style_modulation.bias',
}
_NVLABS_TO_RGB = {**_AFFINE, 'weight': 'conv.weight_orig', 'bias': 'bias'}
_NVLABS_CONV = {
    **_AFFINE,
    'weight': 'conv.weight_orig',
    'bias': 'activate.bias',
    'noise_strength': 'noise_injector.weight',
    'resample_filter': 'conv.blur.kernel',
}
_ROSINALITY_LAYER = {
    'conv.weight': 'conv.weight_orig',
    'conv.modulation.weight': 'conv.style_modulation.linear.weight_orig',
    'conv.modulation.bias': 'conv.style_modulation.bias',
    'noise.weight': 'noise_injector.weight',
}


def rename_nvlabs(part: str, network: Network) -> dict[str, Tensor]:
    """Give the entries of one of NVlabs' networks mmagic's names and shapes."""
    if part == 'discriminator':
        return _rename_nvlabs_discriminator(network)
    return _rename_nvlabs_generator(network)


def rename_rosinality(part: str, network: Network) -> dict[str, Tensor]:
    """Give the entries of one of rosinality's networks mmagic's names."""
    return {_name_of_rosinality(name): value for name, value in network.items()}


def _count_doublings(size: str | int) -> int:
    """Tell how often 4 px are doubled on the way to a size."""
    return int(size).bit_length() - 3


def _rename_nvlabs_generator(network: Network) -> dict[str, Tensor]:
    state = {}
    for name, value in network.items():
        if name.endswith('resample_filter'):
            if re.search(r'\.b4\.|\.conv1\.', name):
                continue  # nothing is resampled there
            value = 4 * value  # mmagic keeps the gain of up-sampling in the kernel
        elif name.endswith(('const', 'conv0.weight', 'conv1.weight', 'torgb.weight')):
            value = value[None]
            value = value[None] if name.endswith('noise_const') else value
        elif name.endswith('noise_strength'):
            value = value.view(1)
        elif name.endswith('torgb.bias'):
            value = value.view(1, -1, 1, 1)
        state[_name_of_nvlabs_generator(name)] = value
    return state


def _name_of_nvlabs_generator(name: str) -> str:
    if match := re.fullmatch(r'mapping\.fc(\d+)\.(weight|bias)', name):
        return f'style_mapping.{int(match[1]) + 1}.{_LINEAR[match[2]]}'
    if match := re.fullmatch(r'synthesis\.b(\d+)\.torgb\.(.+)', name):
        doublings = _count_doublings(match[1])
        layer = f'to_rgbs.{doublings - 1}' if doublings else 'to_rgb1'
        return f'{layer}.{_NVLABS_TO_RGB.get(match[2], match[2])}'
    if match := re.fullmatch(r'synthesis\.b(\d+)\.conv([01])\.(.+)', name):
        # among all convolutions; the first is alone in its block, and called conv1
        index = 2 * _count_doublings(match[1]) + int(match[2]) - 1
        if match[3] == 'noise_const':
            return f'injected_noise_{index}'
        layer = f'convs.{index - 1}' if index else 'conv1'
        return f'{layer}.{_NVLABS_CONV.get(match[3], match[3])}'
    if match := re.fullmatch(r'synthesis\.b(\d+)\.resample_filter', name):
        return f'to_rgbs.{_count_doublings(match[1]) - 1}.upsample.kernel'
    return {'mapping.w_avg': 'w_avg', 'synthesis.b4.const': 'constant_input.input'}.get(name, name)


def _rename_nvlabs_discriminator(network: Network) -> dict[str, Tensor]:
    sizes = [int(match[1]) for name in network if (match := re.match(r'b(\d+)\.', name))]
    state = {}
    for name, value in network.items():
        is_filter = name.endswith('resample_filter')
        if not is_filter or re.fullmatch(r'b\d+\.(conv1|skip)\.resample_filter', name):
            state[_name_of_nvlabs_discriminator(name, max(sizes))] = value
    return state


def _name_of_nvlabs_discriminator(name: str, largest: int) -> str:
    if match := re.fullmatch(r'b4\.(fc|out)\.(weight|bias)', name):
        return f'final_linear.{("fc", "out").index(match[1])}.{_LINEAR[match[2]]}'
    match = re.fullmatch(
        rf'b(?:4\.(conv)|{largest}\.(fromrgb)|(\d+)\.(conv0|conv1|skip))'
        r'\.(weight|bias|resample_filter)',
        name,
    )
    if match is None:
        return name
    block = f'convs.{_count_doublings(largest) - _count_doublings(match[3] or largest) + 1}'
    layers = {
        'conv': 'final_conv',
        'fromrgb': 'convs.0',
        'conv0': f'{block}.conv1',
        'conv1': f'{block}.conv2',
        'skip': f'{block}.skip',
    }
    layer = match[1] or match[2] or match[4]
    # where the image is halved, a blur comes first
    first = int(layer in ('conv1', 'skip'))
    leaves = {
        'weight': f'{first}.conv.weight_orig',
        'bias': f'{first + 1}.bias',
        'resample_filter': '0.kernel',
    }
    return f'{layers[layer]}.{leaves[match[5]]}'


def _name_of_rosinality(name: str) -> str:
    if match := re.fullmatch(r'style\.(\d+)\.(weight|bias)', name):
        return f'style_mapping.{match[1]}.{_LINEAR[match[2]]}'
    if match := re.fullmatch(r'noises\.noise_(\d+)', name):
        return f'injected_noise_{match[1]}'
    if match := re.fullmatch(r'(final_linear\.[01])\.weight', name):
        return f'{match[1]}.linear.weight_orig'
    if match := re.fullmatch(r'((?:convs\.\d+(?:\.\w+)?|final_conv)\.[01])\.weight', name):
        return f'{match[1]}.conv.weight_orig'
    if match := re.fullmatch(r'((?:convs|to_rgbs)\.\d+|conv1|to_rgb1)\.(.+)', name):
        return f'{match[1]}.{_ROSINALITY_LAYER.get(match[2], match[2])}'
    return 'constant_input.input' if name == 'input.input' else name


LAYOUTS = [
    Layout('NVlabs', ('mapping.fc0.weight', 'b4.out.weight'), rename_nvlabs),
    Layout('rosinality', ('style.1.weight', 'final_linear.1.weight'), rename_rosinality),
]


def main(argv: list[str] | None = None) -> None:
    """Convert what the command line names."""
    network_files.main(__doc__, LAYOUTS, argv)


if __name__ == '__main__':
    main()
