"""Holds the objects of the simulated Meta: apps, accounts, numbers, tokens, templates, media and WhatsApp users.

All objects are kept in memory. `World.merge` applies the body of `PUT /_sim/world`. It may be called
repeatedly.
"""

import hashlib
import secrets
from collections import OrderedDict
from functools import lru_cache
from typing import Any

import msgspec
import phonenumbers

from waypost.simulator.world.values import (
    CanSend,
    CodeVerification,
    ComponentType,
    NameStatus,
    NumberStatus,
    ParameterFormat,
    Scope,
    TemplateCategory,
    TemplateStatus,
)

_FIELDS = (
    "account_alerts account_review_update account_settings_update account_update automatic_events "
    "business_capability_update business_username_update business_username_updates calls consumer_profile flows "
    "group_lifecycle_update group_participants_update group_settings_update group_status_update history "
    "message_echoes message_template_components_update message_template_quality_update "
    "message_template_status_update messages messaging_handovers partner_solutions payment_configuration_update "
    "phone_number_name_update phone_number_quality_update security smb_app_state_sync smb_message_echoes standby "
    "template_category_update tracking_events user_preferences"
)
SUBSCRIBABLE = frozenset(_FIELDS.split())

USERS_MAX = 200_000
"""The most phone numbers and BSUIDs of users that are stored. A user who was dropped gets the same BSUID again."""


class Callback(msgspec.Struct, kw_only=True):
    """A URL for deliveries, with the verify token that was used to verify the URL."""

    url: str
    verify_token: str


class Subscription(Callback, kw_only=True):
    """An app's only subscription to `whatsapp_business_account`: the callback, and the fields with their versions."""

    fields: dict[str, str] = msgspec.field(default_factory=lambda: {"messages": "v26.0"})


class App(msgspec.Struct, kw_only=True):
    """A Meta app, whose secret signs every delivery."""

    app_id: str
    app_secret: str
    name: str = "Simulated app"
    require_proof: bool = False
    """Whether calls must carry `appsecret_proof`."""
    subscription: Subscription | None = None


class Template(msgspec.Struct, kw_only=True):
    """A message template in one language."""

    id: str = ""
    name: str
    language: str = "en_US"
    category: str = TemplateCategory.UTILITY
    status: str = TemplateStatus.APPROVED
    parameter_format: str = ParameterFormat.POSITIONAL
    components: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Number(msgspec.Struct, kw_only=True):
    """A business phone number."""

    phone_number_id: str
    waba_id: str = ""
    display_phone_number: str
    verified_name: str = "Simulated business"
    status: str = NumberStatus.CONNECTED
    quality_rating: str = "GREEN"
    name_status: str = NameStatus.APPROVED
    new_display_name: str | None = None
    new_name_status: str = NameStatus.NONE
    code_verification_status: str = CodeVerification.VERIFIED
    platform_type: str = "CLOUD_API"
    throughput: str = "STANDARD"
    messaging_limit: str = "TIER_250"
    account_mode: str = "LIVE"
    can_send_message: str = CanSend.AVAILABLE
    pin: str | None = None
    messages_per_second: int = 80
    """The most messages per second, inbound and outbound together; 0 removes the limit."""
    allowed_recipients: list[str] | None = None
    """The recipients to whom a test number is limited. None allows all recipients."""
    callbacks: dict[str, Callback] = msgspec.field(default_factory=dict)
    """The callbacks that override the app's for this number, by app id."""
    profile: dict[str, Any] = msgspec.field(default_factory=dict)
    commerce: dict[str, bool] = msgspec.field(default_factory=dict)
    registrations: list[float] = msgspec.field(default_factory=list)
    wrong_pins: int = 0

    @property
    def digits(self) -> str:
        """Returns the digits of the phone number."""
        return only_digits(self.display_phone_number)


class Account(msgspec.Struct, kw_only=True):
    """A WhatsApp Business account (WABA)."""

    waba_id: str
    name: str = "Simulated account"
    currency: str = "EUR"
    timezone_id: str = "1"
    status: str = "ACTIVE"
    account_review_status: str = "APPROVED"
    business_verification_status: str = "verified"
    can_send_message: str = CanSend.AVAILABLE
    has_payment_method: bool = True
    locked: bool = False
    """Whether sends are refused with 131031."""
    numbers: list[str] = msgspec.field(default_factory=list)
    templates: dict[str, Template] = msgspec.field(default_factory=dict)
    subscribers: dict[str, Callback | None] = msgspec.field(default_factory=dict)
    """The subscribed apps by id, each with its override or None."""


class Token(msgspec.Struct, kw_only=True):
    """An access token of a system user."""

    token: str
    app_id: str
    scopes: tuple[str, ...] = tuple(Scope)
    expires_at: float = 0.0
    """The expiry in seconds since 1970; 0 means that the token never expires."""
    wabas: tuple[str, ...] | None = None
    """The ids of the accounts that the system user has access to. None means all accounts."""
    issued_at: float = 0.0
    revoked: bool = False
    user_id: str = "122100000000000001"


class Media(msgspec.Struct, kw_only=True):
    """A file that a business uploaded or a user sent."""

    id: str
    phone_number_id: str
    mime_type: str
    sha256: str
    content: bytes
    expires_at: float
    filename: str | None = None


class User(msgspec.Struct, kw_only=True):
    """A WhatsApp user. If the user has no phone, a business sees only the business-scoped user id (BSUID)."""

    phone: str | None
    """The digits of the phone number, without `+`."""
    user_id: str
    name: str


class AccountSeed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An account in `PUT /_sim/world`. An omitted field keeps its value, or takes its default in a new account."""

    waba_id: str
    name: str | None = None
    currency: str | None = None
    timezone_id: str | None = None
    status: str | None = None
    account_review_status: str | None = None
    business_verification_status: str | None = None
    can_send_message: str | None = None
    has_payment_method: bool | None = None
    locked: bool | None = None
    numbers: list[dict[str, Any]] = msgspec.field(default_factory=list)
    templates: list[Template] = msgspec.field(default_factory=list)
    subscribed_apps: list[str] | None = None


class UserSeed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A user in `PUT /_sim/world`, with a phone, a BSUID or both."""

    phone: str | None = None
    user_id: str | None = None
    name: str | None = None


class WorldSeed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `PUT /_sim/world`."""

    apps: list[dict[str, Any]] = msgspec.field(default_factory=list)
    accounts: list[AccountSeed] = msgspec.field(default_factory=list)
    tokens: list[dict[str, Any]] = msgspec.field(default_factory=list)
    users: list[UserSeed] = msgspec.field(default_factory=list)


def only_digits(value: str) -> str:
    """Returns the ASCII digits of a text."""
    return "".join(character for character in value if character in "0123456789")


@lru_cache(maxsize=4096)
def country(digits: str) -> tuple[str, str]:
    """Returns the calling code and the region of an international phone number.

    Returns ("", "ZZ") if the phone number is invalid.
    """
    try:
        parsed = phonenumbers.parse("+" + digits)
    except phonenumbers.NumberParseException:
        return "", "ZZ"
    return str(parsed.country_code), phonenumbers.region_code_for_number(parsed) or "ZZ"


def _merged(existing: Any, kind: type[Any], given: dict[str, Any]) -> Any:
    current = msgspec.structs.asdict(existing) if existing is not None else {}
    unknown = set(given) - {field.name for field in msgspec.structs.fields(kind)}
    if unknown:
        raise msgspec.ValidationError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    return msgspec.convert(current | given, kind, from_attributes=True)


class World:
    """Holds all objects by the ids that Graph paths use for them."""

    def __init__(self, media_bytes_max: int) -> None:
        self.apps: dict[str, App] = {}
        self.accounts: dict[str, Account] = {}
        self.numbers: dict[str, Number] = {}
        self.tokens: dict[str, Token] = {}
        self.templates: dict[str, tuple[Account, Template]] = {}
        self.media: OrderedDict[str, Media] = OrderedDict()
        self.users: OrderedDict[str, User] = OrderedDict()
        self._media_bytes_max = media_bytes_max
        self._media_bytes = 0

    def merge(self, seed: WorldSeed, now: float) -> None:
        """Adds or changes the objects in `seed`.

        All other objects stay as they are. Raises `msgspec.ValidationError`.
        """
        apps = [_merged(self.apps.get(str(app.get("app_id"))), App, app) for app in seed.apps]
        numbers = [
            (account, [self._merged_number(account.waba_id, number) for number in account.numbers])
            for account in seed.accounts
        ]
        tokens = [
            _merged(
                self.tokens.get(str(given.get("token"))),
                Token,
                ({} if given.get("token") in self.tokens else {"issued_at": now}) | given,
            )
            for given in seed.tokens
        ]
        # The whole seed is valid. Nothing raises from here on, so that it is applied completely or not at all.
        self.apps.update((app.app_id, app) for app in apps)
        for account, members in numbers:
            self._merge_account(account, members)
        self.tokens.update((token.token, token) for token in tokens)
        for user in seed.users:
            self.user(phone=only_digits(user.phone or "") or None, user_id=user.user_id, name=user.name)

    def _merged_number(self, waba_id: str, given: dict[str, Any]) -> Number:
        existing = self.numbers.get(str(given.get("phone_number_id")))
        number: Number = _merged(existing, Number, given | {"waba_id": waba_id})
        return number

    def _merge_account(self, seed: AccountSeed, numbers: list[Number]) -> None:
        account = self.accounts.setdefault(seed.waba_id, Account(waba_id=seed.waba_id))
        for name in seed.__struct_fields__:
            value = getattr(seed, name)
            if name not in ("waba_id", "numbers", "templates", "subscribed_apps") and value is not None:
                setattr(account, name, value)
        for number in numbers:
            for other in self.accounts.values():
                if other is not account and number.phone_number_id in other.numbers:
                    other.numbers.remove(number.phone_number_id)
            self.numbers[number.phone_number_id] = number
            if number.phone_number_id not in account.numbers:
                account.numbers.append(number.phone_number_id)
        if not account.templates:
            self.add_template(
                account, Template(name="hello_world", components=[{"type": ComponentType.BODY, "text": HELLO}])
            )
        for template in seed.templates:
            self.add_template(account, template)
        if seed.subscribed_apps is not None:
            account.subscribers = {app: account.subscribers.get(app) for app in seed.subscribed_apps}

    def add_template(self, account: Account, template: Template) -> Template:
        """Stores a template under a new id.

        If the account already has a template with this name and language, the new template replaces it and gets the
        id of the old template.
        """
        for old in account.templates.values():
            if (old.name, old.language) == (template.name, template.language):
                template.id = old.id
        template.id = template.id or new_id()
        account.templates[template.id] = template
        self.templates[template.id] = (account, template)
        return template

    def remove_template(self, account: Account, template: Template) -> None:
        """Removes a template from its account."""
        account.templates.pop(template.id, None)
        self.templates.pop(template.id, None)

    def account_of(self, number: Number) -> Account:
        """Returns the account that the number belongs to."""
        return self.accounts[number.waba_id]

    def number(self, name: str) -> Number | None:
        """Returns the number that has this id or this phone number. The phone number may be in any spelling."""
        if name in self.numbers:
            return self.numbers[name]
        digits = only_digits(name)
        return next((n for n in self.numbers.values() if digits and n.digits == digits), None)

    def user(self, *, phone: str | None = None, user_id: str | None = None, name: str | None = None) -> User:
        """Finds or creates the user with this phone or BSUID. If the BSUID is missing, it is derived from the phone."""
        found = (self.users.get(user_id) if user_id else None) or (self.users.get(phone) if phone else None)
        if found is None:
            found = User(phone=phone, user_id=user_id or bsuid(phone or new_id()), name=name or "WhatsApp user")
        if name:
            found.name = name
        if user_id:
            found.user_id = user_id
        self.users[found.user_id] = found
        if phone:
            self.users[phone] = found
        while len(self.users) > USERS_MAX:
            self.users.popitem(last=False)
        return found

    def reset(self, *, everything: bool) -> None:
        """Drops users, media and the registration history. If `everything` is set, drops all objects."""
        self.users.clear()
        self.media.clear()
        self._media_bytes = 0
        for number in self.numbers.values():
            number.registrations.clear()
            number.wrong_pins = 0
        if everything:
            for objects in (self.apps, self.accounts, self.numbers, self.tokens, self.templates):
                objects.clear()

    def add_media(self, media: Media) -> None:
        """Stores a file. The oldest files are dropped if all files together are too large."""
        self.media[media.id] = media
        self._media_bytes += len(media.content)
        while self._media_bytes > self._media_bytes_max and len(self.media) > 1:
            self._media_bytes -= len(self.media.popitem(last=False)[1].content)

    def remove_media(self, media_id: str) -> None:
        """Removes a file, if it exists."""
        media = self.media.pop(media_id, None)
        if media is not None:
            self._media_bytes -= len(media.content)


def bsuid(phone: str) -> str:
    """Returns the BSUID of a phone number.

    The BSUID is the same after a restart, so that conversations continue.
    """
    region = country(phone)[1]
    digest = int.from_bytes(hashlib.sha256(phone.encode()).digest()[:9])
    return f"{region if region.isalpha() else 'ZZ'}.{digest:020d}"


HELLO = "Welcome and congratulations!! This message demonstrates your ability to send a WhatsApp message notification."


def new_id() -> str:
    """Returns a new id for an object of Graph: fifteen digits."""
    return str(10**14 + secrets.randbelow(9 * 10**14))
