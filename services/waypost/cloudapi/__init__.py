"""Meta's world, typed: what WhatsApp delivers, what it accepts, and the only HTTP to the Graph API."""
