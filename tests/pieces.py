"""Work for engines, in a module that other processes can import."""

from palimpsest.errors import UserError


def double(number: int) -> bytes:
    """Return twice the number, as text."""
    if number < 0:
        raise UserError(f"{number} is negative.")
    return str(2 * number).encode()
