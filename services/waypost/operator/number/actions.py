"""Defines the actions of a plan.

Each action can be repeated without harm. It names the actions that must have succeeded before it.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from waypost.contracts.registry import Number, Route
from waypost.operator.number.operator_secrets import NumberSecrets


@dataclass(frozen=True)
class Action:
    """One thing to do for a number. A plan holds at most one action of each class."""

    purpose: ClassVar[str]
    """The action as an infinitive, which completes a sentence in a condition: "register the number"."""
    needs: ClassVar[tuple[type["Action"], ...]] = ()
    """Actions that must not have failed before this one. If one of them failed, this action is left out."""
    changes_meta: ClassVar[bool] = True
    """Whether Meta must be asked again after this action, because the action changes the state at Meta or the token to
    ask with."""


@dataclass(frozen=True)
class SaveSecrets(Action):
    """Saves verify tokens and the previous app secret in the operator's own Secret."""

    purpose: ClassVar[str] = "save the verify token"
    changes_meta: ClassVar[bool] = False

    secrets: NumberSecrets


@dataclass(frozen=True)
class Publish(Action):
    """Writes the number's registry entries for webhook and workers."""

    purpose: ClassVar[str] = "publish the number to webhook and workers"
    needs: ClassVar[tuple[type[Action], ...]] = (SaveSecrets,)
    changes_meta: ClassVar[bool] = False

    route: Route = field(repr=False)
    number: Number = field(repr=False)
    """The entry without the text of its bot."""
    script: str | None = field(default=None, repr=False)
    """The text of its bot. It may be None if the registry has the bot."""


@dataclass(frozen=True)
class Withdraw(Action):
    """Removes the number's registry entries."""

    purpose: ClassVar[str] = "withdraw the number from webhook and workers"
    changes_meta: ClassVar[bool] = False


@dataclass(frozen=True)
class WithdrawOther(Action):
    """Removes the registry entries of the object that held the phone number before.

    The entries are removed because Meta refuses the credentials of that object.
    """

    purpose: ClassVar[str] = "withdraw the object that held the phone number before"
    needs: ClassVar[tuple[type[Action], ...]] = (SaveSecrets, Publish)
    changes_meta: ClassVar[bool] = False

    namespace: str
    name: str


@dataclass(frozen=True)
class AwaitRoute(Action):
    """Checks that the webhook serves a callback. This must be true before Meta verifies the callback."""

    purpose: ClassVar[str] = "check that the webhook serves the callback"
    needs: ClassVar[tuple[type[Action], ...]] = (SaveSecrets, Publish)
    changes_meta: ClassVar[bool] = False

    url: str
    """The callback as an address below the public address. The check itself uses the webhook's address in the
    cluster."""


@dataclass(frozen=True)
class SetAppCallback(Action):
    """Registers the callback of the app, and the webhook fields that the app subscribes to."""

    purpose: ClassVar[str] = "register the callback of the app"
    needs: ClassVar[tuple[type[Action], ...]] = (SaveSecrets, Publish, AwaitRoute)

    url: str


@dataclass(frozen=True)
class SubscribeApp(Action):
    """Subscribes the app to the account without setting a callback for the account.

    If the account has a callback, this removes it.
    """

    purpose: ClassVar[str] = "subscribe the app to the WhatsApp account"


@dataclass(frozen=True)
class SetAccountCallback(Action):
    """Registers a callback for the account."""

    purpose: ClassVar[str] = "register the callback of the WhatsApp account"
    needs: ClassVar[tuple[type[Action], ...]] = (SaveSecrets, Publish, AwaitRoute, SubscribeApp)

    url: str


@dataclass(frozen=True)
class SetNumberCallback(Action):
    """Registers the number's own callback. If `url` is None, removes the callback."""

    purpose: ClassVar[str] = "register the callback of the number"
    needs: ClassVar[tuple[type[Action], ...]] = (SaveSecrets, Publish, AwaitRoute, SubscribeApp)

    url: str | None


@dataclass(frozen=True)
class Register(Action):
    """Connects the number to the Cloud API with the PIN of the credentials Secret.

    Meta limits how often this call may be made.
    """

    purpose: ClassVar[str] = "register the number"


@dataclass(frozen=True)
class RefreshToken(Action):
    """Exchanges a token that expires soon for a new token, and saves the new token."""

    purpose: ClassVar[str] = "refresh the token"


@dataclass(frozen=True)
class RevokeToken(Action):
    """Revokes the old token that was replaced when the token was refreshed."""

    purpose: ClassVar[str] = "revoke the replaced token"
    needs: ClassVar[tuple[type[Action], ...]] = (Publish,)


@dataclass(frozen=True)
class DeleteRefreshedToken(Action):
    """Deletes the refreshed token, because it was not made from the token that the credentials Secret now holds."""

    purpose: ClassVar[str] = "delete the refreshed token"
