"""The service's edges: an HTTP API over the store of assessments, and pages on which a person reads what it keeps.

Optional (`pip install 'autocoder[web]'`), started by `autocoder assessments serve`. Everything that is done is done by the
store; here stands how it is asked, who may ask, and how the answers look.

Who may ask, and why so:

- Programs send the token as `Authorization: Bearer`. It comes from the settings or a file, is compared in constant time
  and is never written anywhere. Without a token the service listens on a loopback address alone.
- Pages are for browsers, which cannot send that header by themselves: a form takes the token once and gives a cookie that
  is HttpOnly and SameSite=Strict. The cookie holds no token, for cookies ignore ports: every other service on this host
  gets to see it. It holds an expiry and an HMAC of that under the token, so it needs no storage, survives a restart, ends
  by itself, and dies with the token. It opens nothing but reading (GET, HEAD): a forged form of another site could at
  worst read for the person, and even that SameSite prevents.
- A request that changes something and names another site as its origin is refused, token or not, and bodies have to say
  that they are JSON: what a browser sends across sites without asking first never gets through.
- On loopback the Host header has to name this machine, so that a name of somebody else's that resolves to 127.0.0.1 (DNS
  rebinding) reaches nothing.
"""
