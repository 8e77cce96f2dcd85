"""Describes the steps that only a person can take: what to do, and on which page. Most steps are taken at Meta.

Names of pages are as in Meta's "Get started", "Business phone numbers" and "Payment methods" (copies of
2026).
"""

NUMBERS = "WhatsApp Manager > Account tools > Phone numbers (https://business.facebook.com/wa/manage/phone-numbers/)"
SYSTEM_USERS = "Business settings > Users > System users (https://business.facebook.com/settings/system-users)"
SECURITY = "Business settings > Security Center (https://business.facebook.com/settings/security)"
BILLING = "Billing & payments > Accounts > WhatsApp Business accounts (https://business.facebook.com/billing_hub/)"
APP = "App dashboard > App settings > Basic (https://developers.facebook.com/apps/{app_id}/settings/basic/)"
SUPPORT = "WhatsApp Manager > Overview (https://business.facebook.com/wa/manage/home/)"

NEW_TOKEN = (
    f"Generate a token of a system user at {SYSTEM_USERS} with the scopes whatsapp_business_management and "
    "whatsapp_business_messaging, and put it into the Secret as accessToken."
)
ASSIGN_ASSETS = (
    f"Give the system user full control of the WhatsApp account at {SYSTEM_USERS} > Assign assets. "
    "Then generate a new token and put it into the Secret as accessToken."
)
APP_SECRET = f"Copy the app secret from {APP} into the Secret as appSecret."
VERIFY_NUMBER = f"Verify that you own the number: open {NUMBERS}, choose the number and enter the code sent to it."
SET_PIN = (
    "Put six digits into the Secret as pin: any six if the number has no two-step verification PIN yet, else the PIN "
    f"that was set at {NUMBERS}."
)
RIGHT_PIN = f"Change the two-step verification PIN at {NUMBERS} > Settings, and put the new one into the Secret as pin."
PAYMENT = f"Add a payment method to the WhatsApp account at {BILLING}."
DISPLAY_NAME = f"Have the display name approved: open {NUMBERS}, choose the number > Profile > Display name."
VERIFY_BUSINESS = f"Complete business verification at {SECURITY}."
APPEAL = f"Read what Meta objects to, and ask for a review, at {SUPPORT}."
APP_ALERTS = "Read the app's alerts in the App dashboard (https://developers.facebook.com/apps/)."
REGISTER_AGAIN = "Then ask for a reconcile with the annotation waypost.dev/reconcile-requested-at."
REPAIR_PLUGIN = (
    "Correct the plugin, or have what it needs installed in the image of the workers. Until then the last bot that "
    "could be used answers, if there is one."
)
REPAIR_SCRIPT = "Correct it in its ConfigMap. Until then the last script that could be used answers, if there is one."
REPAIR_BOT = (
    "Correct the bot. Its messages are kept: waypost dead show says where one failed, and waypost dead replay lets the "
    "bot try them again."
)
ALLOW_PLUGIN = (
    "Ask the people who installed Waypost to add it to bot.plugins in the values of its chart (WAYPOST_BOT_PLUGINS), "
    "or let a script answer (spec.bot.configMapRef)."
)
