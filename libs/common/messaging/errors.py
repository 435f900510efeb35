"""What can go wrong with messages."""


class MessagingUnavailable(Exception):
    """Kafka did not confirm the message in time. It may still arrive: send it again only under the same id."""


class Unconfirmed(MessagingUnavailable):
    """Kafka is there and slow: it may well have the message, or get it yet. Nobody may hear that it was not."""


class Refused(MessagingUnavailable):
    """Kafka does not take a message of an outbox, and what is behind it waits; says which, and why."""


class Fenced(Exception):
    """Another instance has moved our offsets: we are a zombie and must forget the partitions."""


class Undecodable(Exception):
    """The message does not fit its contract; it can never be handled and is parked."""


class MessageTooLarge(Exception):
    """Kafka would never take it: nothing of it, nor of the transaction that said it, may be kept."""


class NotDiscarded(Exception):
    """What was to be given up does not wait any more, or has not failed: look what is parked, and decide anew."""
