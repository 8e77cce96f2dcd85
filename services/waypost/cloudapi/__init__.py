"""Meta's world, typed: deliveries in, messages out, the only HTTP to the Graph API, one verdict table for its errors."""
