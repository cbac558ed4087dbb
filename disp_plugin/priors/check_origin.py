"""Compatible names, while other rooms move."""

from .check_bank import simplify_config

__all__ = ['simplify_config']
