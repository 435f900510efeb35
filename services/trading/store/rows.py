"""What a row is on its way into a statement over `unnest`ed columns."""

from typing import TypeAlias

Row: TypeAlias = tuple[object, ...]
