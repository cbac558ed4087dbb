"""The layouts that checkpoints of GANs have, and mmagic's names for their entries."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .biggan_layout import rename_biggan
from .sngan_layout import rename_sngan
from .stylegan2_layouts import rename_nvlabs, rename_rosinality

MMAGIC, NVLABS, ROSINALITY = 'mmagic', 'NVlabs', 'rosinality'
BIGGAN, SNGAN = 'BigGAN-PyTorch', 'pfnet SNGAN'
PARTS = {
    'generator': ('generator', 'G', 'g'),
    'generator_ema': ('generator_ema', 'G_ema', 'g_ema'),
    'discriminator': ('discriminator', 'D', 'd'),
}

# Names of which a generator, and of which a discriminator of that layout has one.
SIGNS = {
    NVLABS: ('mapping.fc0.weight', 'b4.out.weight'),
    ROSINALITY: ('style.1.weight', 'final_linear.1.weight'),
    BIGGAN: ('output_layer.2.weight', 'embed.u0'),
    SNGAN: ('block2/b1/avg_mean', 'block1/c1/W'),
}
RENAMERS: dict[str, Callable[[str, dict[str, Tensor]], dict[str, Tensor]]] = {
    NVLABS: rename_nvlabs,
    ROSINALITY: rename_rosinality,
    BIGGAN: rename_biggan,
    SNGAN: rename_sngan,
}


def rename_checkpoint(content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Find out the layout of a checkpoint and give its entries mmagic's names and shapes.

    Args:
        content (Mapping[str, Any]): What the file holds: a state dict of mmagic, or one as
            ``state_dict``; state dicts of other implementations' networks as ``G``, ``D`` and
            ``G_ema``, as ``g``, ``d`` and ``g_ema``, or as ``generator``, ``discriminator`` and
            ``generator_ema``; or one of these alone.

    Returns:
        tuple[str, dict[str, Any]]: A key of ``RENAMERS`` or 'mmagic', and the entries under names
        such as ``generator.conv1.activate.bias``. An entry that mmagic's network does not have
        keeps its name behind that of its network.
    """
    networks: dict[str, Mapping[str, Any]] = {
        part: content[name]
        for part, names in PARTS.items()
        for name in names
        if isinstance(content.get(name), Mapping)
    }
    if not networks:
        is_scorer = any(scorer in content for _, scorer in SIGNS.values())
        networks = {'discriminator' if is_scorer else 'generator': content}
    names = {name for network in networks.values() for name in network}
    layout = next((layout for layout, signs in SIGNS.items() if names & set(signs)), MMAGIC)
    if layout == MMAGIC:
        return MMAGIC, dict(content.get('state_dict', content))
    state: dict[str, Tensor] = {}
    for part, network in networks.items():
        tensors = {name: value for name, value in network.items() if isinstance(value, Tensor)}
        renamed = RENAMERS[layout](part, tensors)
        if part != 'discriminator' and isinstance(content.get('latent_avg'), Tensor):
            renamed['w_avg'] = content['latent_avg'].view(-1)
        state.update({f'{part}.{name}': value for name, value in renamed.items()})
    return layout, state
