"""The test kit: real servers, one handler at a time or a whole service, without a line of fakery."""

from libs.common.testing.apps import served, service_app
from libs.common.testing.databases import Databases
from libs.common.testing.delivery import NOON, deliver

__all__ = ["NOON", "Databases", "deliver", "served", "service_app"]
