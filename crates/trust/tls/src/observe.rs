//! What happened inside a handshake, beyond the error that rustls reports.
//!
//! A verifier can hand rustls only a fixed set of reasons, and those decide the alert that the peer gets. The whole story
//! (rule, presented chain) takes this side way: verifiers note it on the thread they run on, and [`observe`] or
//! [`Observing`], which run or poll the handshake, pick it up there.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;

/// Why a verifier refused the peer.
#[derive(Clone, Debug)]
pub struct VerificationFailure {
    /// The stable class.
    pub class: &'static str,
    /// The rule that was broken, in a sentence.
    pub rule: String,
    /// What to do.
    pub hint: Option<String>,
    /// What the peer sent, leaf first.
    pub presented: Vec<CertificateDer<'static>>,
}

/// What was noted during a handshake.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The verifier's verdict, when it refused.
    pub failure: Option<Arc<VerificationFailure>>,
    /// The server asked for a client certificate.
    pub client_certificate_requested: bool,
    /// A client certificate was there to be sent.
    pub client_certificate_offered: bool,
}

thread_local! {
    static CURRENT: RefCell<Observation> = RefCell::new(Observation::default());
}

/// Runs a part of a handshake and adds what happens in it to `observation`.
pub fn observe<R>(observation: &mut Observation, work: impl FnOnce() -> R) -> R {
    CURRENT.with(|current| mem::swap(&mut *current.borrow_mut(), observation));
    let result = work();
    CURRENT.with(|current| mem::swap(&mut *current.borrow_mut(), observation));
    result
}

pub(crate) fn note(change: impl FnOnce(&mut Observation)) {
    CURRENT.with(|current| change(&mut current.borrow_mut()));
}

/// A handshake as a future, observed at each poll.
#[derive(Debug)]
pub struct Observing<F> {
    handshake: Pin<Box<F>>,
    observation: Observation,
}

impl<F> Observing<F> {
    /// Observes `handshake`.
    pub fn new(handshake: F) -> Self {
        Self {
            handshake: Box::pin(handshake),
            observation: Observation::default(),
        }
    }
}

impl<F: Future> Future for Observing<F> {
    type Output = (F::Output, Observation);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match observe(&mut this.observation, || this.handshake.as_mut().poll(context)) {
            Poll::Ready(output) => Poll::Ready((output, mem::take(&mut this.observation))),
            Poll::Pending => Poll::Pending,
        }
    }
}
