"""Checkpoints of a network, for a module that holds this network beside parts of its own."""


def name_wrapped(state_dict: dict, prefix: str, part: str, own: tuple[str, ...]) -> None:
    """Let entries of a bare network find it inside of its wrapper.

    'decision.weight' of the network is 'discriminator.decision.weight' of what wraps it.

    Args:
        state_dict (dict): Entries; changed in place.
        prefix (str): Prefix of the wrapper's entries, '' or ending in a dot.
        part (str): Name of the network in the wrapper.
        own (tuple[str, ...]): How names of the wrapper begin, ``part`` and a dot among them.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name = key[len(prefix) :]
        if not name.startswith(own):
            state_dict[f'{prefix}{part}.{name}'] = state_dict.pop(key)
