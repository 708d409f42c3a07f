"""Components that speak HTTP: read JSON from a URL, send payloads to one (extra `http`)."""

from autocoder_components.http.exchange import ExchangeError, RefusedError
from autocoder_components.http.get import Get
from autocoder_components.http.post import Post

__all__ = ["ExchangeError", "Get", "Post", "RefusedError"]
