"""What Meta delivers: a signed delivery is split into events, and an event is read into a typed record."""
