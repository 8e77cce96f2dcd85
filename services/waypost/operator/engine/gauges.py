"""Updates metrics about our objects from watch events, so that no reconcile has to count the objects."""

from waypost.operator.api import conditions
from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.object_cache import Key
from waypost.telemetry import metrics

_DAY_S = 86_400


def update(key: Key, before: Manifest | None, after: Manifest | None, *, now: float) -> None:
    """Updates the metrics after an object changed from `before` to `after`.

    `before` is None if the object is new, and `after` is None if the object is gone. `now` is in seconds since
    1970.
    """
    kind = key[0]
    old, new = _conditions(before), _conditions(after)
    for type_, status in old - new:
        metrics.condition.labels(kind=kind, type=type_, status=status).dec()
    for type_, status in new - old:
        metrics.condition.labels(kind=kind, type=type_, status=status).inc()
    if after is not None:
        update_token(after, now=now)
    elif before is not None and kind == NUMBER:
        metrics.token_days_left.remove(_number_id(before))


def update_token(manifest: Manifest, *, now: float) -> None:
    """Sets the metric of the days until a number's token expires.

    This is called at each resync, because days may pass without an event.
    """
    if manifest["kind"] != NUMBER:
        return
    status = (manifest.get("status") or {}).get("token") or {}
    expires_at = conditions.seconds(status.get("expiresAt"))
    if expires_at is None:
        metrics.token_days_left.remove(_number_id(manifest))
    else:
        metrics.token_days_left.labels(number=_number_id(manifest)).set(round((expires_at - now) / _DAY_S, 1))


def _conditions(manifest: Manifest | None) -> set[tuple[str, str]]:
    listed = ((manifest or {}).get("status") or {}).get("conditions") or ()
    return {(each.get("type", ""), each.get("status", "")) for each in listed if isinstance(each, dict)}


def _number_id(manifest: Manifest) -> str:
    return str((manifest.get("spec") or {}).get("phoneNumberId"))
