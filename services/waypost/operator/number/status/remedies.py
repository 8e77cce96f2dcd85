"""What only a person can do, most of it at Meta: the step, and the page where it is done.

Names of pages as in Meta's "Get started", "Business phone numbers" and "Payment methods" (copies of 2026).
"""

NUMBERS = "WhatsApp Manager > Account tools > Phone numbers (https://business.facebook.com/wa/manage/phone-numbers/)"
SYSTEM_USERS = "Business settings > Users > System users (https://business.facebook.com/settings/system-users)"
SECURITY = "Business settings > Security Center (https://business.facebook.com/settings/security)"
BILLING = "Billing & payments > Accounts > WhatsApp Business accounts (https://business.facebook.com/billing_hub/)"
APP = "App dashboard > App settings > Basic (https://developers.facebook.com/apps/{app_id}/settings/basic/)"
SUPPORT = "WhatsApp Manager > Overview (https://business.facebook.com/wa/manage/home/)"

NEW_TOKEN = (
    f"generate a token of a system user at {SYSTEM_USERS} with the scopes whatsapp_business_management and "
    "whatsapp_business_messaging, and put it into the Secret as accessToken"
)
ASSIGN_ASSETS = (
    f"give the system user full control of the WhatsApp account at {SYSTEM_USERS} > Assign assets, "
    "then generate a new token and put it into the Secret as accessToken"
)
APP_SECRET = f"copy the app secret from {APP} into the Secret as appSecret"
VERIFY_NUMBER = f"verify that you own the number: {NUMBERS}, choose the number and enter the code sent to it"
SET_PIN = f"put a six-digit pin into the Secret: any if the number has none yet, else the one set at {NUMBERS}"
RIGHT_PIN = f"change the two-step verification PIN at {NUMBERS} > Settings, and put it into the Secret as pin"
PAYMENT = f"add a payment method to the WhatsApp account at {BILLING}"
DISPLAY_NAME = f"have the display name approved: {NUMBERS}, choose the number > Profile > Display name"
VERIFY_BUSINESS = f"complete business verification at {SECURITY}"
APPEAL = f"see what Meta objects to, and ask for a review, at {SUPPORT}"
ALLOW_PLUGIN = (
    "whoever installed Waypost adds it to bot.plugins in the values of its chart (WAYPOST_BOT_PLUGINS); "
    "or let a script answer, by spec.bot.configMapRef"
)
