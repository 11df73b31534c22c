"""The certificate that a worker's listeners show now; it may be exchanged while connections go on."""

import ssl

from proxycache.config.certificate import Certificate


class ServedCertificate:
    """What a worker was given first, and what each handshake from then on gets: the pair of the last exchange.

    A listener keeps one context for life, and a pair is loaded into a context in two steps, of which the second may
    fail. So a handshake begins in the first context and goes on in that of the pair of now, also if the client names
    no host. Connections keep the context with which they began.
    """

    def __init__(self, certificate: Certificate | None) -> None:
        self.context = certificate.context if certificate is not None else None
        self._current = self.context
        if self.context is not None:
            self.context.sni_callback = self._take_current

    def exchange(self, certificate: Certificate | None) -> None:
        """Show `certificate` from now on; None, where there is no TLS, changes nothing."""
        if certificate is not None:
            self._current = certificate.context

    def _take_current(self, connection: ssl.SSLObject, _host: str | None, _context: ssl.SSLContext) -> None:
        if self._current is not None:
            connection.context = self._current
