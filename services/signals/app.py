"""The whole of signals at a glance: what it hears, what it says, where alerts come in."""

from libs.common.contracts import topics
from libs.common.contracts.signals import SignalGroupDeleteRequested, SignalGroupSaveRequested
from libs.common.contracts.users import UserAccessChanged
from libs.common.service import Service, every, on
from services.signals import api, handlers
from services.signals.memory import SignalsMemory
from services.signals.store import SignalsStore

app = Service(
    name="signals",
    store=SignalsStore,
    memory=SignalsMemory,
    consumes=[
        on(topics.SIGNAL_REQUESTS, SignalGroupSaveRequested, handlers.save_group, given_up=handlers.give_up),
        on(topics.SIGNAL_REQUESTS, SignalGroupDeleteRequested, handlers.delete_group, given_up=handlers.give_up),
        on(topics.USERS, UserAccessChanged, handlers.know_user),
    ],
    timers=[every(60, handlers.forget_old_arrivals), every(60, handlers.log_floods)],
    produces=[topics.SIGNAL_GROUPS, topics.SIGNALS, topics.SIGNAL_REFUSALS],
    routes=api.routes,
)
