"""The programs with which Waypost is compared, and the Graph API that both sides call. Each is a separate program."""
