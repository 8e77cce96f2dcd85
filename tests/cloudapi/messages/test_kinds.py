"""Each kind of outgoing message has the JSON that Meta expects and respects Meta's limits.

Each message is also sent to the right recipient.
"""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi import messages as m
from waypost.simulator.graph.outgoing import check_message

WAMID = "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0"
LINK = m.Media(link="https://example.org/picture.png")
UPLOAD = m.Media(id="1234567890")
BUTTONS = (m.Button("yes", "Yes"), m.Button("no", "No"))
CARDS = tuple(
    m.Card(header=m.Header(image=LINK), body="A card", link_title="Open", link_url=f"https://example.org/{n}")
    for n in range(3)
)
PRODUCTS = (m.ProductSection(("sku-1", "sku-2"), "Shoes"), m.ProductSection(("sku-3",), "Hats"))

KINDS: dict[str, m.Outgoing] = {
    "text": m.Text("Hello", preview_url=True),
    "text as a reply": m.Text("Hello", reply_to=WAMID),
    "image by id": m.Image(id="1234567890", caption="A picture"),
    "image by link": m.Image(link="https://example.org/a.png"),
    "video": m.Video(id="1234567890"),
    "audio": m.Audio(id="1234567890"),
    "voice": m.Audio(id="1234567890", voice=True),
    "document": m.Document(link="https://example.org/a.pdf", filename="Order.pdf", caption="Your order"),
    "sticker": m.Sticker(id="1234567890"),
    "location": m.Location(41.89, 12.49, name="Colosseum", address="Rome"),
    "contacts": m.Contacts(
        (
            m.ContactCard(
                formatted_name="Ada Lovelace",
                first_name="Ada",
                phones=(m.Phone(phone="+15550100", type="WORK", wa_id="15550100"),),
                emails=(m.Email(email="ada@example.org"),),
                urls=(m.Url(url="https://example.org"),),
                addresses=(m.Address(city="London", country_code="gb"),),
                org=m.Organization(company="Analytical Engines"),
                birthday="1815-12-10",
            ),
        )
    ),
    "reaction": m.Reaction(WAMID, "👍"),
    "reaction removed": m.Reaction(WAMID),
    "buttons": m.Buttons(
        body="Well?", buttons=BUTTONS, header=m.Header(document=UPLOAD), footer="Take your time", reply_to=WAMID
    ),
    "list": m.List(
        body="Choose",
        button="Menu",
        header=m.Header(text="Today"),
        sections=(
            m.Section((m.Row("a", "Soup", "With bread"),), "First"),
            m.Section((m.Row("b", "Pasta"),), "Second"),
        ),
    ),
    "link": m.Link(body="Look", title="Open", url="https://example.org", header=m.Header(image=LINK)),
    "flow by id": m.Flow(body="Book", title="Book now", flow_id="42", token="t", screen="DATES", data={"city": "Rome"}),
    "flow by name": m.Flow(body="Book", title="Book now", flow_name="booking", draft=True),
    "location request": m.LocationRequest(body="Where are you?"),
    "address request": m.AddressRequest(body="Where to?", country="IN", values={"name": "Ada"}),
    "product": m.Product(catalog_id="7", product_retailer_id="sku-1", body="This one?"),
    "product list": m.ProductList(
        header=m.Header(text="Spring"), body="All new", catalog_id="7", sections=PRODUCTS, footer="While stock lasts"
    ),
    "catalog": m.CatalogMessage(body="Everything", thumbnail_product_retailer_id="sku-1"),
    "carousel of links": m.Carousel(body="Look around", cards=CARDS),
    "carousel of buttons": m.Carousel(
        body="Look around", cards=(m.Card(header=m.Header(video=LINK), buttons=BUTTONS),) * 2
    ),
    "carousel of products": m.Carousel(body="Look around", cards=(m.ProductCard("7", "a"), m.ProductCard("7", "b"))),
    "voice call": m.VoiceCall(body="Call us", title="Call", ttl_minutes=60, call_payload="order-1"),
    "voice call, all defaults": m.VoiceCall(body="Call us"),
    "call permission request": m.CallPermissionRequest(body="May we call you?"),
    "contact request": m.ContactRequest(body="What is your number?"),
    "template": m.Template(name="hello_world", language="en_US"),
    "template with named parameters": m.Template(
        name="order",
        language="it",
        header=m.LocationParameter(latitude=41.9, longitude=12.5, place="Shop", address="Via Roma 1"),
        body=(
            m.TextParameter("Ada", name="first_name"),
            m.Currency(code="EUR", amount_1000=12_500, fallback="€12.50", name="amount"),
            m.DateTime("Monday", name="day"),
        ),
    ),
    "template with every button": m.Template(
        name="spring",
        language="en",
        header=m.DocumentParameter(UPLOAD, filename="Offer.pdf"),
        body=(m.TextParameter("Ada"),),
        buttons=(
            m.QuickReply(index=0, payload="more"),
            m.UrlButton(index=1, suffix="summer"),
            m.CopyCode(index=2, code="SAVE10"),
            m.FlowButton(index=3, token="t", data={"a": 1}),
            m.CatalogButton(index=4, thumbnail_product_retailer_id="sku-1"),
            m.ProductsButton(index=5, thumbnail_product_retailer_id="sku-1", sections=PRODUCTS),
            m.VoiceCallButton(index=6, ttl_minutes=60, payload="order-1"),
            m.OrderDetailsButton(index=7, details={"reference_id": "1"}),
        ),
    ),
    "template with a limited-time offer": m.Template(
        name="offer", language="en", header=m.ImageParameter(LINK), offer_expires_at_ms=1_790_000_000_000
    ),
    "template with a video header": m.Template(name="film", language="en", header=m.VideoParameter(UPLOAD)),
    "template with an animated header": m.Template(name="film", language="en", header=m.GifParameter(UPLOAD)),
    "template with a carousel": m.Template(
        name="cards",
        language="en",
        body=(m.TextParameter("Ada"),),
        cards=(
            m.TemplateCard(
                header=m.ProductParameter(catalog_id="7", product_retailer_id="sku-1"),
                body=(m.TextParameter("Red"),),
                buttons=(m.QuickReply(index=0, payload="red"),),
            ),
            m.TemplateCard(header=m.ImageParameter(LINK), buttons=(m.UrlButton(index=0, suffix="blue"),)),
        ),
    ),
}
ORDER_STATUS = m.Template(
    name="shipped",
    language="en",
    order_status=m.OrderStatus(reference_id="A-1", status="shipped", description="On its way"),
)
REFUSED: dict[str, Callable[[], object]] = {
    "an empty text": lambda: m.Text(""),
    "a blank text": lambda: m.Text(" \n "),
    "a text of 4,097 characters": lambda: m.Text("a" * 4097),
    "a text that is none": lambda: m.Text(None),  # type: ignore[arg-type]  # the mistake under test
    "a lone surrogate": lambda: m.Text("\ud800"),
    "an image without a source": m.Image,
    "an image with two sources": lambda: m.Image(id="1", link="https://example.org/a.png"),
    "an image by a local link": lambda: m.Image(link="file:///etc/passwd"),
    "an image by an address with a space": lambda: m.Image(link="https://example.org/a b"),
    "a caption of 1,025 characters": lambda: m.Image(id="1", caption="a" * 1025),
    "a file name of 241 characters": lambda: m.Document(id="1", filename="a" * 241),
    "a latitude of 91": lambda: m.Location(91, 0),
    "a longitude that is not a number": lambda: m.Location(0, float("nan")),
    "a reaction without a message": lambda: m.Reaction("", "👍"),
    "a reaction that quotes": lambda: m.Reaction(WAMID, "👍", reply_to=WAMID),
    "no contact": lambda: m.Contacts(()),
    "258 contacts": lambda: m.Contacts((m.ContactCard(formatted_name="A", first_name="A"),) * 258),
    "a contact with one name only": lambda: m.ContactCard(formatted_name="Ada"),
    "a contact given as a mapping": lambda: m.Contacts(({"name": "A"},)),  # type: ignore[arg-type]  # the mistake under test
    "a birthday in words": lambda: m.ContactCard(formatted_name="A", first_name="A", birthday="10 Dec"),
    "a button without a title": lambda: m.Button("a", ""),
    "a button title of 21 characters": lambda: m.Button("a", "a" * 21),
    "a button id of 257 characters": lambda: m.Button("a" * 257, "a"),
    "no button": lambda: m.Buttons(body="a", buttons=()),
    "four buttons": lambda: m.Buttons(body="a", buttons=tuple(m.Button(f"{n}", f"{n}") for n in range(4))),
    "two buttons of one id": lambda: m.Buttons(body="a", buttons=(m.Button("a", "a"), m.Button("a", "b"))),
    "two buttons of one title": lambda: m.Buttons(body="a", buttons=(m.Button("a", "a"), m.Button("b", "a"))),
    "buttons without a body": lambda: m.Buttons(buttons=BUTTONS),
    "a body of 1,025 characters": lambda: m.Buttons(body="a" * 1025, buttons=BUTTONS),
    "a footer of 61 characters": lambda: m.Buttons(body="a", buttons=BUTTONS, footer="a" * 61),
    "a header of two kinds": lambda: m.Header(text="a", image=LINK),
    "a header text of 61 characters": lambda: m.Header(text="a" * 61),
    "a list with an image on top": lambda: m.List(
        body="a", button="b", sections=(m.Section((m.Row("a", "a"),)),), header=m.Header(image=LINK)
    ),
    "eleven rows": lambda: m.List(
        body="a",
        button="b",
        sections=tuple(
            m.Section(tuple(m.Row(f"{s}{n}", "a") for n in range(6)), f"{s}") for s in range(2)
        ),
    ),
    "two rows of one id": lambda: m.List(
        body="a", button="b", sections=(m.Section((m.Row("a", "a"), m.Row("a", "b"))),)
    ),
    "two sections, one without a title": lambda: m.List(
        body="a", button="b", sections=(m.Section((m.Row("a", "a"),), "A"), m.Section((m.Row("b", "b"),)))
    ),
    "a row title of 25 characters": lambda: m.Row("a", "a" * 25),
    "a row description of 73 characters": lambda: m.Row("a", "a", "a" * 73),
    "a link that is none": lambda: m.Link(body="a", title="a", url="example.org"),
    "a flow without id and name": lambda: m.Flow(body="a", title="a"),
    "a flow with data but no screen": lambda: m.Flow(body="a", title="a", flow_id="1", data={"a": 1}),
    "flow data that is no JSON": lambda: m.Flow(body="a", title="a", flow_id="1", screen="A", data={"a": object()}),
    "an address request in a country of three letters": lambda: m.AddressRequest(body="a", country="IND"),
    "a product list without a header": lambda: m.ProductList(body="a", catalog_id="7", sections=PRODUCTS),
    "31 products": lambda: m.ProductList(
        body="a",
        header=m.Header(text="a"),
        catalog_id="7",
        sections=(
            m.ProductSection(tuple(f"{n}" for n in range(16)), "A"),
            m.ProductSection(tuple(f"{n}" for n in range(15)), "B"),
        ),
    ),
    "a carousel of one card": lambda: m.Carousel(body="a", cards=CARDS[:1]),
    "a carousel of eleven cards": lambda: m.Carousel(body="a", cards=CARDS[:1] * 11),
    "a carousel of unlike cards": lambda: m.Carousel(
        body="a", cards=(CARDS[0], m.Card(header=m.Header(image=LINK), buttons=BUTTONS))
    ),
    "a carousel with a footer": lambda: m.Carousel(body="a", cards=CARDS, footer="a"),
    "a card with link and buttons": lambda: m.Card(
        header=m.Header(image=LINK), buttons=BUTTONS, link_title="a", link_url="https://example.org"
    ),
    "a card with a text on top": lambda: m.Card(header=m.Header(text="a"), buttons=BUTTONS),
    "a call button for 31 days": lambda: m.VoiceCall(body="a", ttl_minutes=44_640),
    "a template name with capitals": lambda: m.Template(name="Hello", language="en"),
    "a language that is no code": lambda: m.Template(name="hello", language="English"),
    "a parameter with a line break": lambda: m.TextParameter("a\nb"),
    "a parameter with five spaces": lambda: m.TextParameter("a     b"),
    "one named parameter of two": lambda: m.Template(
        name="a", language="en", body=(m.TextParameter("a", name="a"), m.TextParameter("b"))
    ),
    "two parameters of one name": lambda: m.Template(
        name="a", language="en", body=(m.TextParameter("a", name="a"), m.TextParameter("b", name="a"))
    ),
    "a picture among the texts": lambda: m.Template(name="a", language="en", body=(m.ImageParameter(LINK),)),
    "two buttons of one index": lambda: m.Template(
        name="a", language="en", buttons=(m.UrlButton(index=0, suffix="a"), m.UrlButton(index=0, suffix="b"))
    ),
    "an amount in a currency of two letters": lambda: m.Currency(code="EU", amount_1000=1, fallback="a"),
    "an offer that ends in seconds": lambda: m.Template(name="a", language="en", offer_expires_at_ms=1_790_000_000),
    "an order status of our own": lambda: m.OrderStatus(reference_id="a", status="lost"),
}  # fmt: skip


def _sent(message: m.Outgoing) -> dict[str, object]:
    body = m.addressed(message.payload(), to="16505551234", recipient=None, callback_data="7")
    decoded: dict[str, object] = msgspec.json.decode(msgspec.json.encode(body))
    return decoded


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_accepted_by_the_simulated_meta(name: str) -> None:
    """The simulated Meta accepts every kind of message.

    The check of the simulator was written from Meta's pages, independently of the messages.
    """
    assert check_message(_sent(KINDS[name])) == KINDS[name].kind


@pytest.mark.parametrize("name", REFUSED)
def test_what_meta_would_refuse_cannot_be_made(name: str) -> None:
    """A message that Meta would refuse cannot be created. The constructor raises an error with the reason."""
    with pytest.raises(m.InvalidMessage):
        REFUSED[name]()


@pytest.mark.parametrize("name", KINDS)
def test_the_repr_of_a_message_shows_no_content(name: str) -> None:
    """The `repr` of a message shows its class and no content, because a message may be logged by mistake."""
    assert repr(KINDS[name]) == f"<{type(KINDS[name]).__name__}>"


def test_the_reason_of_a_refusal_does_not_quote_the_text() -> None:
    """The reason of a refusal does not quote the text. Errors are logged, but texts must not be logged."""
    with pytest.raises(m.InvalidMessage) as raised:
        m.Button("a", "private words that are too long")
    assert "private" not in str(raised.value)


def test_a_reply_quotes_its_message() -> None:
    """The context of a reply names the message that is answered."""
    assert KINDS["text as a reply"].payload()["context"] == {"message_id": WAMID}


def test_an_empty_emoji_removes_a_reaction() -> None:
    """An empty emoji removes a reaction. Meta reads the empty string as a removal, so it must be sent."""
    assert m.Reaction(WAMID).payload()["reaction"] == {"message_id": WAMID, "emoji": ""}


def test_a_contact_request_has_the_type_that_meta_expects_in_messages() -> None:
    """A contact request has the type that Meta expects in messages: request_contact_info.

    In Meta's webhooks, the type is contact_request.
    """
    assert m.ContactRequest(body="Number?").content()["type"] == "request_contact_info"


def test_a_flow_without_a_screen_asks_its_endpoint() -> None:
    """A flow without a screen asks its endpoint. The flow's own server then names the first screen."""
    assert m.Flow(body="a", title="a", flow_id="1").action()["parameters"]["flow_action"] == "data_exchange"  # type: ignore[index]  # nested JSON


def test_an_order_status_has_a_component_of_its_own() -> None:
    """The component of an order status has the form on Meta's page about order status templates."""
    template = ORDER_STATUS.content()
    assert template["components"] == [
        {
            "type": "order_status",
            "parameters": [
                {
                    "type": "order_status",
                    "order_status": {
                        "reference_id": "A-1",
                        "order": {"status": "shipped", "description": "On its way"},
                    },
                }
            ],
        }
    ]


def test_missing_values_are_not_sent_as_null() -> None:
    """Missing values are omitted, because Meta refuses null for some fields."""
    assert b"null" not in msgspec.json.encode([message.payload() for message in KINDS.values()])


@pytest.mark.parametrize("to", ["16505551234", "+16505551234"])
def test_a_phone_number_is_always_sent_with_a_plus(to: str) -> None:
    """A phone number is always sent with a plus.

    Without the plus, Meta adds the country code of the business number in front.
    """
    assert m.addressed({}, to=to, recipient=None, callback_data="7")["to"] == "+16505551234"


def test_a_contact_without_a_phone_number_is_addressed_by_its_scoped_id() -> None:
    """A contact without a phone number is addressed by its business-scoped id.

    For people with a username, no other address may be known.
    """
    body = m.addressed({}, to=None, recipient="US.13491208655302741918", callback_data="7")
    assert (body.get("to"), body["recipient"]) == (None, "US.13491208655302741918")


def test_a_contact_with_both_is_addressed_by_phone_only() -> None:
    """A contact with a phone number and a BSUID is addressed only by the phone number.

    If a request has both, Meta uses `to`. A second recipient in the request could only be misread.
    """
    body = m.addressed({}, to="16505551234", recipient="US.13491208655302741918", callback_data="7")
    assert "recipient" not in body


@pytest.mark.parametrize(
    ("to", "recipient"),
    [(None, None), ("", ""), ("650 555", None), ("+", None), ("0650555123", None), (None, "someone"), ("1" * 21, None)],
)
def test_a_message_without_a_recipient_is_refused(to: str | None, recipient: str | None) -> None:
    """A recipient that is neither a phone number nor a BSUID is refused before the message is sent."""
    with pytest.raises(m.InvalidMessage):
        m.addressed({}, to=to, recipient=recipient, callback_data="7")


def test_every_message_contains_the_callback_data() -> None:
    """Every message contains the callback data. Only the callback data can settle a send whose outcome is unknown."""
    assert m.addressed({}, to="16505551234", recipient=None, callback_data="7")["biz_opaque_callback_data"] == "7"


def test_callback_data_over_the_cap_is_refused() -> None:
    """Callback data that is too long is refused.

    Meta accepts 512 characters. If the data was shortened, it could not be found again.
    """
    with pytest.raises(m.InvalidMessage):
        m.addressed({}, to="16505551234", recipient=None, callback_data="a" * 513)


@given(st.text(max_size=5000))
def test_any_text_is_either_refused_or_sent_as_it_is(text: str) -> None:
    """Texts are sent unchanged. A text that Meta would refuse is not sent."""
    try:
        sent = _sent(m.Text(text))
    except m.InvalidMessage:
        assert not text.strip() or len(text) > 4096 or any("\ud800" <= c <= "\udfff" for c in text)
    else:
        assert sent["text"]["body"] == text  # type: ignore[index]  # nested JSON


@given(
    st.text(min_size=1, max_size=1025),
    st.lists(st.tuples(st.text(min_size=1, max_size=257), st.text(min_size=1, max_size=21)), min_size=1, max_size=4),
    st.none() | st.text(min_size=1, max_size=61),
)
def test_any_buttons_are_either_refused_or_acceptable(
    body: str, buttons: list[tuple[str, str]], footer: str | None
) -> None:
    """Buttons with any texts are either refused when they are made, or accepted by the simulated Meta."""
    try:
        made = m.Buttons(body=body, footer=footer, buttons=tuple(m.Button(*button) for button in buttons))
    except m.InvalidMessage:
        return
    assert check_message(_sent(made)) == "interactive"
