"""Compatible names, while other rooms move."""

from .prior_bank import BankWriteError, DamagedBankError

__all__ = ['BankWriteError', 'DamagedBankError']
