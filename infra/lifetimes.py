"""How many days the buckets keep what lies in them; templates and the cost model read it here."""

from typing import Final

# Uploads outlive a weekend's outage of the stages, artifacts a redrive of the
# day after, tracks the month in which somebody comes back for them.
UPLOAD_DAYS: Final = 7
WORK_DAYS: Final = 2
TRACK_DAYS: Final = 30
# An upload or track that was deleted or replaced, or whose days are over, can be had back for
# that long.
REGRET_DAYS: Final = 7
