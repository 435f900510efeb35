"""What a client is told of an order that was decided."""

from libs.common.contracts.enums import OrderStatus

UNDECIDED = frozenset({OrderStatus.REQUESTED, OrderStatus.SUBMITTED})
OPEN = frozenset(OrderStatus) - frozenset(status for status in OrderStatus if status.is_final)


def is_decided(status: str) -> bool:
    """A placed order is decided once the venue or we answered, or it is known that nobody knows."""
    return status not in UNDECIDED


def status_code(status: str) -> int:
    """201 for an order that was taken, 202 for one whose outcome is open, 422 for one that was refused."""
    match OrderStatus(status):
        case OrderStatus.REQUESTED | OrderStatus.SUBMITTED | OrderStatus.OUTCOME_UNKNOWN:
            return 202
        case OrderStatus.DENIED | OrderStatus.REJECTED:
            return 422
        case _:
            return 201


def refusal_status(code: str) -> int:
    """The HTTP status of a RequestRefused code."""
    return {"not_found": 404, "conflict": 409, "forbidden": 403}.get(code, 422)
