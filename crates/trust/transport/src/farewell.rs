//! A TLS stream that says goodbye however it ends: a peer that reads the end of a connection without a `close_notify` must take
//! it for cut off, and many programs report an error then.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The stream. When it is dropped the goodbye is tried once and not waited for: a peer that takes nothing holds nobody up.
pub(crate) struct Farewell(Box<TlsStream<TcpStream>>);

impl Farewell {
    /// Boxed, as it goes through the hands of several futures and each would keep room for it.
    pub(crate) fn of(stream: TlsStream<TcpStream>) -> Self {
        Self(Box::new(stream))
    }

    pub(crate) fn stream(&mut self) -> &mut TlsStream<TcpStream> {
        &mut self.0
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let goodbye = poll_fn(|context| Pin::new(&mut *self.0).poll_shutdown(context));
        // Whatever the task has done before: there is no second time to try.
        let goodbye = pin!(tokio::task::unconstrained(goodbye));
        if let Poll::Ready(Err(error)) = goodbye.poll(&mut Context::from_waker(Waker::noop())) {
            tracing::trace!(%error, "the peer was gone before the connection ended");
        }
    }
}

impl AsyncRead for Farewell {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Farewell {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(context, buffers)
    }
}
