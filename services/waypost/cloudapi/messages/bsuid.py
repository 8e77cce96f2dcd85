"""The form of a BSUID. A BSUID identifies a contact who shows no phone number.

Source: Meta, "Business-scoped user IDs".
"""

import re
from typing import Final

FORM: Final = r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}"
"""A regular expression for a BSUID, without anchors so that larger patterns can contain it; the API server reads it
too."""
BSUID: Final = re.compile(FORM)
