"""The programs with which Waypost is compared, and the Graph API of both sides. Each is a separate program."""
