"""HTTP on a socket: bytes that are no HTTP get an answer that says what is wrong with them."""

from __future__ import annotations

import re
import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from cascade.service.http_errors import problem

MAX_HEAD = 65_536
"""Most bytes of a request's first line and headers."""

_LINGER_S = 1.0
_BYTES = re.compile(r"bytearray\(b(.*?)\)(?=$| )")
_REMEDIES = (
    ("Content-Length", "Give one Content-Length: the number of bytes of the body, in digits."),
    ("Transfer-Encoding", "Send the body as it is, or with Transfer-Encoding: chunked."),
    ("Host", "Give one header Host."),
    ("closed connection", "Send as many bytes as were announced."),
    ("chunk", "Send every chunk as its length in hexadecimal digits, a line end, its bytes, and a line end."),
)


class Protocol(H11Protocol):
    """A connection of uvicorn's that explains its refusals, and lets callers read them before it closes."""

    _is_over = False

    def data_received(self, data: bytes) -> None:
        """Take bytes, or drop those that come after a refusal."""
        if not self._is_over:
            super().data_received(data)

    def eof_received(self) -> None:
        """The caller sends no more: refuse what it left unfinished; what is finished is given up with the caller."""
        if not self._is_over and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self.conn.receive_data(b"")
            self.handle_events()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing of an upgrade that is left out: uvicorn would advise a package that changes nothing here."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; uvicorn calls this while it handles h11's error."""
        error = sys.exception()
        status, detail = (
            _refusal(error) if isinstance(error, h11.RemoteProtocolError) else (HTTPStatus.BAD_REQUEST, msg)
        )
        answer = problem(status, detail, headers={"Connection": "close"})
        if self.cycle is not None:
            self.cycle.disconnected = True  # whoever works for it hears so
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            head = h11.Response(status_code=status, headers=answer.raw_headers, reason=status.phrase.encode())
            is_bare = self.conn.our_state is h11.SEND_RESPONSE and self.scope["method"] == "HEAD"
            for event in (head, h11.Data(data=b"" if is_bare else bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._leave()

    def _leave(self) -> None:
        """Close once the caller has had time to read: a close with bytes unread would take the answer along."""
        self._is_over = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def _refusal(error: h11.RemoteProtocolError) -> tuple[HTTPStatus, str]:
    """The status and the sentence for what h11 says; always the caller's fault, whatever h11 hints."""
    reason = _BYTES.sub(r"\1", str(error))
    if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return status, f"The first line and the headers are longer than {MAX_HEAD} bytes. Send shorter ones."
    remedies = [remedy for words, remedy in _REMEDIES if words in reason]
    remedy = remedies[0] if remedies else "Send HTTP/1.1, without TLS."
    return HTTPStatus.BAD_REQUEST, f"The request is not HTTP: {reason}. {remedy}"
