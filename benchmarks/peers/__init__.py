"""What Waypost is measured against, and the Graph API of both sides. Each is a program of its own."""
