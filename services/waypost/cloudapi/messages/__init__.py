"""The messages that can be sent, with one class per kind. Bots and plugins build their replies from these classes."""

from waypost.cloudapi.messages.checks import InvalidMessage, Media, Outgoing
from waypost.cloudapi.messages.commerce import (
    Card,
    Carousel,
    CatalogMessage,
    Product,
    ProductCard,
    ProductList,
    ProductSection,
)
from waypost.cloudapi.messages.interactive import (
    AddressRequest,
    Button,
    Buttons,
    CallPermissionRequest,
    ContactRequest,
    Flow,
    Header,
    Link,
    List,
    LocationRequest,
    Row,
    Section,
    VoiceCall,
)
from waypost.cloudapi.messages.kinds import (
    Address,
    Audio,
    ContactCard,
    Contacts,
    Document,
    Email,
    Image,
    Location,
    Organization,
    Phone,
    Reaction,
    Sticker,
    Text,
    Url,
    Video,
    addressed,
)
from waypost.cloudapi.messages.template import OrderStatus, Template, TemplateCard
from waypost.cloudapi.messages.template_parts import (
    CatalogButton,
    CopyCode,
    Currency,
    DateTime,
    DocumentParameter,
    FlowButton,
    GifParameter,
    ImageParameter,
    LocationParameter,
    OrderDetailsButton,
    Parameter,
    ProductParameter,
    ProductsButton,
    QuickReply,
    TemplateButton,
    TextParameter,
    UrlButton,
    VideoParameter,
    VoiceCallButton,
)

__all__ = [
    "Address", "AddressRequest", "Audio", "Button", "Buttons", "CallPermissionRequest", "Card", "Carousel",
    "CatalogButton", "CatalogMessage", "ContactCard", "ContactRequest", "Contacts", "CopyCode", "Currency",
    "DateTime", "Document", "DocumentParameter", "Email", "Flow", "FlowButton", "GifParameter", "Header", "Image",
    "ImageParameter", "InvalidMessage", "Link", "List", "Location", "LocationParameter", "LocationRequest", "Media",
    "OrderDetailsButton", "OrderStatus", "Organization", "Outgoing", "Parameter", "Phone", "Product", "ProductCard",
    "ProductList", "ProductParameter", "ProductSection", "ProductsButton", "QuickReply", "Reaction", "Row",
    "Section", "Sticker", "Template", "TemplateButton", "TemplateCard", "Text", "TextParameter", "Url", "UrlButton",
    "Video", "VideoParameter", "VoiceCall", "VoiceCallButton", "addressed",
]  # fmt: skip
