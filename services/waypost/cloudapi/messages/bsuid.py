"""The form of a BSUID, by which Meta names a contact who shows no phone number ("Business-scoped user IDs")."""

import re
from typing import Final

FORM: Final = r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}"
"""As a part of a larger pattern, also one that the API server reads."""
BSUID: Final = re.compile(FORM)
