//! An admission webhook that says no to everything, as whoever runs a cluster may have one.

use anyhow::{Context as _, Result};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

/// A webhook, until dropped.
pub(crate) struct Refusing {
    /// Where it is asked.
    pub(crate) url: String,
    /// What its certificate is verified by, as a configuration has it.
    pub(crate) authority: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Refusing {
    /// Begins to refuse, with these words.
    pub(crate) async fn start(words: &'static str) -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certified.cert.der().clone()], key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}/", listener.local_addr().context("it has an address")?);
        let refuse = move |Json(review): Json<Value>| async move {
            Json(json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {"uid": review["request"]["uid"], "allowed": false, "status": {"message": words}},
            }))
        };
        let listener = Secure { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let serving = TaskTracker::new().spawn(async move {
            // It serves until the test is over.
            let _ = axum::serve(listener, Router::new().route("/", post(refuse))).await;
        });
        Ok(Self { url, authority: STANDARD.encode(certified.cert.pem()), serving })
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Connections with TLS, one handshake after the other.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
