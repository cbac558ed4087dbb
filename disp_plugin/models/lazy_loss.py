"""What auxiliary losses share that are computed at some steps only."""

from typing import Any

from torch import Tensor, nn


class LazyLoss(nn.Module):
    """An auxiliary loss of mmagic's ``BaseGAN`` with a weight and an interval.

    Args:
        loss_weight (float): Factor of the loss.
        interval (int): Computed at the updates 0, interval, 2 x interval, ... of the network only.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    name = ''

    def __init__(self, loss_weight: float, interval: int) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(
                f'interval of {type(self).__name__} is {interval}; it must be 1 or more'
            )
        self.loss_weight = loss_weight
        self.interval = interval

    def loss_name(self) -> str:
        """Name the loss in the log, as mmagic asks.

        Returns:
            str: The name.
        """
        return self.name

    def forward(self, outputs: dict[str, Any]) -> Tensor | None:
        """Compute the loss, where it is due.

        Args:
            outputs (dict): What a training step has at hand; see :class:`DISPGAN`.

        Returns:
            Tensor | None: The weighted loss, a scalar; None where it is not due.
        """
        if outputs['step'] % self.interval or not self.loss_weight:
            return None
        return self.loss_weight * self.compute(outputs)

    def compute(self, outputs: dict[str, Any]) -> Tensor:
        """Compute the loss without its weight.

        Args:
            outputs (dict): As in :meth:`forward`.

        Returns:
            Tensor: A scalar.
        """
        raise NotImplementedError
