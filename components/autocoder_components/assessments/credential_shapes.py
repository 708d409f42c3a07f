"""The shapes of credentials and of what stands in their place: tables for `secrets`, no behaviour."""

from __future__ import annotations

import re

# Bounds, possessive quantifiers and what may stand before a match keep the time linear: a file may hold anything.
REFERENCE = re.compile(
    r"\$\{\{[^}]{0,200}\}\}|\$\{[^}]{0,200}\}|\{env:[^}]{0,200}\}|\{file:[^}]{0,200}\}|\$\([A-Za-z_][^)]{0,200}\)"
    r"|%[A-Za-z_][A-Za-z0-9_]{0,200}%"
    r"|\$[A-Za-z_][A-Za-z0-9_]*|\$env:[A-Za-z_]\w*|\{\{[^}]{0,200}\}\}|op://[^\s\"']+|keychain:\S+|secret:\S+"
)
PREFIXED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"(?<![A-Za-z0-9_-]){pattern}"))
    for name, pattern in (
        ("GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,})"),
        ("GitLab token", r"gl(?:pat|dt|ptt|rt|soat|cbt)-[A-Za-z0-9_.-]{16,}"),
        ("Anthropic key", r"sk-ant-[A-Za-z0-9_-]{16,}"),
        ("OpenAI-style key", r"sk-(?:proj-|svcacct-|admin-|or-v1-|lf-)?[A-Za-z0-9_-]{18,}"),
        ("Stripe key", r"(?:[sr]k_(?:live|test)|whsec)_[A-Za-z0-9]{14,}"),
        ("AWS access key id", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("Google API key", r"AIza[A-Za-z0-9_-]{30,}"),
        ("Google OAuth secret", r"GOCSPX-[A-Za-z0-9_-]{20,}"),
        ("Google OAuth token", r"ya29\.[A-Za-z0-9_-]{20,}"),
        ("Google refresh token", r"1//0[A-Za-z0-9_-]{20,}"),
        ("Slack token", r"xox[abcdeprs]-[A-Za-z0-9%-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}"),
        ("Perplexity key", r"pplx-[A-Za-z0-9]{20,}"),
        ("Supabase token", r"sb(?:p|_secret|_publishable)_[A-Za-z0-9_]{16,}"),
        ("npm token", r"npm_[A-Za-z0-9]{20,}"),
        ("PyPI token", r"pypi-[A-Za-z0-9_-]{20,}"),
        ("Hugging Face token", r"(?:hf|api_org)_[A-Za-z0-9]{20,}"),
        ("Notion token", r"(?:ntn|secret)_[A-Za-z0-9]{30,}"),
        ("Linear key", r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}"),
        ("Figma token", r"figd_[A-Za-z0-9_-]{20,}"),
        ("Neon key", r"napi_[A-Za-z0-9]{20,}"),
        ("Airtable token", r"pat[A-Za-z0-9]{14}\.[A-Za-z0-9]{30,}"),
        ("Atlassian token", r"AT(?:ATT|CTT|BB)[A-Za-z0-9_=-]{20,}"),
        ("Firecrawl key", r"fc-[0-9a-fA-F]{20,}"),
        ("Tavily key", r"tvly-[A-Za-z0-9_-]{16,}"),
        ("Groq key", r"gsk_[A-Za-z0-9]{20,}"),
        ("xAI key", r"xai-[A-Za-z0-9]{20,}"),
        ("Replicate token", r"r8_[A-Za-z0-9]{20,}"),
        ("ElevenLabs key", r"sk_[0-9A-Za-z]{24,}"),
        ("SendGrid key", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
        ("Resend key", r"re_[A-Za-z0-9]{6,}_[A-Za-z0-9]{12,}"),
        ("Telegram bot token", r"[0-9]{8,10}:[A-Za-z0-9_-]{30,}"),
        ("Discord token", r"[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"),
        ("DigitalOcean token", r"do[opr]_v1_[a-f0-9A-Z]{40,}"),
        ("Databricks token", r"dapi[a-f0-9A-Z]{30,}"),
        ("HashiCorp token", r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),
        ("PostHog key", r"ph[cx]_[A-Za-z0-9]{20,}"),
        ("Sentry token", r"sntry[su]_[A-Za-z0-9_=+/-]{20,}"),
        ("Shopify token", r"shp(?:at|ca|pa|ss)_[A-Za-z0-9]{20,}"),
        ("Apify token", r"apify_api_[A-Za-z0-9]{20,}"),
        ("Context7 key", r"ctx7sk-[A-Za-z0-9-]{16,}"),
        ("Brave key", r"BSA[A-Za-z0-9_-]{20,}"),
        ("Twilio key", r"SK[0-9a-f]{32}(?![0-9A-Za-z])"),
        ("JSON Web Token", r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
        ("Slack webhook", r"https?://hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{16,}"),
        (
            "Discord webhook",
            r"https?://(?:\w{1,8}\.)?discord(?:app)?\.com/api/(?:v\d+/)?webhooks/\d{5,}/[A-Za-z0-9_-]{16,}",
        ),
        ("Teams webhook", r"https?://[\w-]{1,60}\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/_-]{16,}"),
        ("Zapier webhook", r"https?://hooks\.zapier\.com/hooks/catch/\d+/\w{5,}"),
        ("IFTTT webhook", r"https?://maker\.ifttt\.com/trigger/\w{1,60}/(?:json/)?with/key/[A-Za-z0-9_-]{10,}"),
        ("private key", r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    )
)
JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.(eyJ[A-Za-z0-9_-]{2,})\.[A-Za-z0-9_-]*")
URL_LOGIN = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*://([^\s/:@\"']*):([^\s/@\"']+)@")
CONNECTION_PASSWORD = re.compile(
    r"(?i)(?:^|[;\s\"'])(?:password|pwd|accountkey|sharedaccesskey|client_secret)\s*=\s*(\"[^\"]+\"|[^;\s\"']+)"
)
AUTHORIZATION = re.compile(
    r"(?i)^\s*[\"']?(?:(?:proxy-)?authorization\s*[:=]\s*)?(bearer|basic|token|apikey|api-key|digest)\s+(?=\S)([^\n]*+)\s*+$"
)
HEADER_LINE = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_-]*)\s*:\s*+(?!//)(?=\S)([^\n]*+)\s*+$")
ASSIGNMENT = re.compile(r"^(?:--?)?([A-Za-z_][A-Za-z0-9_.-]*)=(.*)$", re.DOTALL)
QUERY = re.compile(r"[?&#;]([A-Za-z_][A-Za-z0-9_.-]*)=([^&#\s\"']*)")
EMBEDDED = re.compile(r"[\"']([A-Za-z_][A-Za-z0-9_.-]*)\\*[\"']\s*:\s*\\*[\"']([^\"'\\]+)")
WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
UUID = re.compile(r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
HEX = re.compile(r"(?i)(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{48}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})")
TOKEN = re.compile(r"[A-Za-z0-9_\-+/=.~]{20,}")
PATH_SEGMENT = re.compile(r"(?<=/)[A-Za-z0-9_\-=~%.]{20,}(?=[/?#]|$)")

SECRET_WORDS = frozenset(
    {
        *(
            "key",
            "apikey",
            "token",
            "secret",
            "password",
            "passwd",
            "passphrase",
            "pwd",
            "pw",
            "pass",
            "pat",
            "credential",
        ),
        *("credentials", "auth", "authorization", "bearer", "cookie", "jwt", "accesskey", "secretkey", "privatekey"),
        *(
            "authtoken",
            "accesstoken",
            "apitoken",
            "clientsecret",
            "sessionid",
            "licensekey",
            "appkey",
            "webhook",
            "keys",
        ),
    }
)
NEUTRAL_ENDINGS = frozenset(
    {
        *(
            "id",
            "ids",
            "name",
            "file",
            "path",
            "dir",
            "url",
            "uri",
            "endpoint",
            "host",
            "port",
            "type",
            "mode",
            "count",
        ),
        *("limit", "max", "min", "size", "length", "ttl", "expiry", "expires", "expiration", "timeout", "enabled"),
        *("required", "algorithm", "method", "provider", "region", "version", "prefix", "header", "public", "env"),
        *(
            "budget",
            "scopes",
            "scope",
            "issuer",
            "audience",
            "domain",
            "email",
            "user",
            "username",
            "disabled",
            "tokens",
        ),
        *("location", "folder", "format", "strategy", "realm", "command", "cmd", "helper", "toolsets", "tools"),
    }
)
QUALIFIERS = frozenset(
    {
        *(
            "prod",
            "production",
            "dev",
            "staging",
            "default",
            "value",
            "live",
            "test",
            "main",
            "string",
            "base64",
            "b64",
        ),
        *("ro", "rw", "read", "write", "admin", "local", "primary", "secondary", "raw", "hex", "plain"),
    }
)
OPAQUE_PARAMETERS = frozenset({"code", "sig", "signature", "hash", "k", "t", "s", "access", "api"})
MENTIONS = (SECRET_WORDS - {"auth"}) | {
    "api",
    "hash",
    "signature",
    "sig",
    "seed",
    "private",
    "access",
    "license",
    "salt",
}
PASSWORD_WORDS = frozenset({"password", "passwd", "passphrase", "pwd", "pw", "pass"})
DUMMY = frozenset(
    {
        *(
            "none",
            "null",
            "nil",
            "undefined",
            "empty",
            "true",
            "false",
            "yes",
            "no",
            "dummy",
            "fake",
            "mock",
            "example",
        ),
        *("sample", "placeholder", "redacted", "removed", "hidden", "secret", "password", "token", "key", "apikey"),
        *(
            "api_key",
            "api-key",
            "changeme",
            "change_me",
            "change-me",
            "todo",
            "tbd",
            "fixme",
            "replace_me",
            "replaceme",
        ),
        *("not-needed", "not_needed", "notneeded", "n/a", "na", "optional", "required", "insert", "enter", "value"),
        *("string", "your", "test", "ollama", "lm-studio", "sk-no-key-required", "no-key", "dummy-key", "default"),
        *("unused", "anything", "...", "…", "***", "local", "my-token", "my_token", "mytoken", "your-key", "bearer"),
    }
)
NUMERIC_ADDRESS = re.compile(r"^[\d.:\[\]]+$")
STRONG_DUMMY = frozenset(
    {"changeme", "change_me", "change-me", "todo", "tbd", "fixme", "replace_me", "replaceme", "redacted"}
)
ALL_CAPITALS = re.compile(r"^[A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD|VALUE)$")
YOURS = r"(?:your|me|with|this|here|in|it|my|actual|real|the)"
KNOWN_START = (
    r"(?:sk|pk|key|ghp|gho|xoxb|xoxp|pplx|sbp|npm|hf|fc|tvly|gsk|AIza|ntn|figd|github_pat|glpat|sk-ant|sk-proj|api|BSA)"
)
PLACEHOLDER = re.compile(
    r"^\W*your(?:[\W_]|(?=[A-Z])|own|api|token|key|secret|password)"
    r"|^\w*[_-]your[_-]|^[A-Za-z_-]*your[_-]"
    r"|^\W*(?:my|the)[_-](?:api[_-]?key|token|secret|password)\b"
    rf"|^\W*(?:insert|enter|paste|put|add|replace|fill|set|change|use|get|provide|type)[\s_-]*{YOURS}\b"
    rf"|^\W*(?:insert|enter|paste|put|replace|fill|change|provide)[\s_-]*{YOURS}[\s_-]"
    r"|^\W*(?:xxx+(?!\w*@)|dummy|placeholder|redacted\b|example[_-]|sample[_-]|fake[_-]|todo|tbd\b)"
    r"|[_-]here\W*$|\b(?:replace|insert|goes|go|put)[_\s-]here\b"
    r"|\byour[\s_-](?:own[\s_-])?(?:api|access|auth|personal|secret|token|key|password|client)"
    rf"|^{KNOWN_START}[-_]+(?:your|my|xx|\.\.|\*\*|test$|example|placeholder|dummy|fake)"
    rf"|^{KNOWN_START}[-_]?(?:[xX]+|\*+|\.+|0+|…)[-_.xX*0…]*$"
    r"|(?-i:^[A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD|VALUE)$)"
    r"|\.\.\.$|…$|\*{3,}|(?<!x)x{4,}(?:[-_. ]x{4,})*[-_. ]?$",
    re.IGNORECASE,
)
BRACKETED = re.compile(
    r"<[^<>\s=/\"'][^<>\"']*>|\[(?:your|insert|enter|api|my|path|token)[^\]]{0,200}\]", re.IGNORECASE
)
PUBLIC_KEY = re.compile(
    r"^\s*(?:ssh-(?:ed25519|rsa|dss)|ecdsa-sha2-\S+|sk-ssh-\S+)\s+AAAA|-----BEGIN (?:[A-Z]+ )*(?:PUBLIC KEY|CERTIFICATE)-----"
)
PATH_LIKE = re.compile(r"^(?:[./~]|[A-Za-z]:[\\/]|file:)")
FILE_OR_HOST = re.compile(
    r"(?i)^[\w./\\ -]+\.(?:json|pem|key|env|txt|ya?ml|toml|p12|pfx|crt|cer|db|sqlite|com|org|io|net|dev|ai|app)$"
)
BEARER = re.compile(r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})")
PLAIN_VALUE = re.compile(
    r"(?i)^(?:true|false|yes|no|on|off|null|none|-?[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d|k|kb|mb|gb|%)?)$"
)
