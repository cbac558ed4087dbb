"""State that is computed from a bank of priors and travels in the checkpoint."""

from typing import Any

from torch import Tensor, nn


class FittedModule(nn.Module):
    """A module whose buffers are fitted to data, so that their sizes are known only afterwards.

    Buffers begin empty, are set by :meth:`set_buffer`, are saved with the model and take the size
    of what is loaded: sampling from a checkpoint needs neither bank nor data set.
    """

    def set_buffer(self, name: str, value: Tensor) -> None:
        """Set a registered buffer to a value of any size, on the buffer's device.

        Args:
            name (str): Name of the buffer.
            value (Tensor): Its new value.
        """
        device = self._buffers[name].device  # type: ignore[union-attr]
        # in the layout that it has when it is loaded: products are then the same bit for bit
        self._buffers[name] = value.detach().contiguous().to(device)

    def forget(self) -> None:
        """Take back what was fitted."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.new_empty(0)

    @property
    def is_fitted(self) -> bool:
        """bool: Whether every buffer holds something."""
        return all(buffer is not None and buffer.numel() > 0 for buffer in self.buffers(False))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        for name, buffer in self._buffers.items():
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor) and buffer is not None and value.shape != buffer.shape:
                self._buffers[name] = buffer.new_empty(value.shape, dtype=value.dtype)
        super()._load_from_state_dict(state_dict, prefix, *args)
