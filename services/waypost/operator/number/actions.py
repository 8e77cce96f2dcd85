"""What can be done about a number. Each action is harmless to repeat, and says which others it cannot do without."""

from dataclasses import dataclass, field
from typing import ClassVar

from waypost.contracts.registry import Number, Route
from waypost.operator.number.operator_secrets import Kept


@dataclass(frozen=True)
class Action:
    """One thing to do. Its class's name tells it apart from the others of a plan."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Names of actions without whose success this one is left out."""
    moves_meta: ClassVar[bool] = True
    """Whether Meta, or the token it is asked with, is another one afterwards: then it is looked at again."""

    @property
    def name(self) -> str:
        """Of its class."""
        return type(self).__name__


@dataclass(frozen=True)
class Keep(Action):
    """Write verify tokens and the previous app secret where the operator keeps them."""

    moves_meta: ClassVar[bool] = False

    kept: Kept


@dataclass(frozen=True)
class Publish(Action):
    """Tell the data plane what it needs to know of the number."""

    needs: ClassVar[tuple[str, ...]] = ("Keep",)
    moves_meta: ClassVar[bool] = False

    route: Route = field(repr=False)
    number: Number = field(repr=False)


@dataclass(frozen=True)
class Withdraw(Action):
    """Take the number from the data plane."""

    moves_meta: ClassVar[bool] = False


@dataclass(frozen=True)
class AwaitRoute(Action):
    """See that the webhook answers for an address, before Meta asks it."""

    needs: ClassVar[tuple[str, ...]] = ("Keep", "Publish")
    moves_meta: ClassVar[bool] = False

    url: str
    """Below the public address; the webhook is asked at its address in the cluster."""


@dataclass(frozen=True)
class SetAppCallback(Action):
    """Register the app's callback and its fields."""

    needs: ClassVar[tuple[str, ...]] = ("Keep", "Publish", "AwaitRoute")

    url: str


@dataclass(frozen=True)
class SubscribeApp(Action):
    """Subscribe the app to the account, without a callback for the account: that removes one."""


@dataclass(frozen=True)
class SetAccountCallback(Action):
    """Register a callback for the account."""

    needs: ClassVar[tuple[str, ...]] = ("Keep", "Publish", "AwaitRoute", "SubscribeApp")

    url: str


@dataclass(frozen=True)
class SetNumberCallback(Action):
    """Register the number's own callback; with None, take it away."""

    needs: ClassVar[tuple[str, ...]] = ("Keep", "Publish", "AwaitRoute", "SubscribeApp")

    url: str | None


@dataclass(frozen=True)
class Register(Action):
    """Connect the number to the Cloud API with the PIN of the credentials Secret. Counted by Meta."""


@dataclass(frozen=True)
class RefreshToken(Action):
    """Get a new token for one that will lapse, and keep it."""


@dataclass(frozen=True)
class RevokeToken(Action):
    """End the token that a refreshed one replaced."""

    needs: ClassVar[tuple[str, ...]] = ("Publish",)


@dataclass(frozen=True)
class ForgetAccess(Action):
    """Delete a refreshed token, for the credentials Secret now holds another one."""
