//! Servers behind TLS: an authority of one's own, certificates of clients, redirections.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use source::{Access, Hidden, Origin, RemoteFile, Source, Tls};
use tokio_rustls::TlsAcceptor;

use crate::server::{Follower, Server, named};

/// An authority, and what it signed.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn signs(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// The server behind TLS; it wants certificates of this authority from its clients when `mutual`.
    async fn serve(&self, server: &Server, mutual: bool, follower: &Follower) -> String {
        let (certificate, key) = self.signs("127.0.0.1");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let builder = if mutual {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (router, tasks, cancel) = (server.router(), follower.tasks.clone(), follower.cancel.clone());
        follower.tasks.spawn(cancel.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                tasks.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }));
        address
    }

    fn pem(&self) -> Option<Hidden> {
        Some(Hidden::new(self.certificate.pem()))
    }
}

fn file(address: &str, tls: Tls) -> Source {
    let origin = RemoteFile { url: format!("https://{address}/a.yaml"), ..RemoteFile::default() };
    Source { access: Access { tls, ..Access::default() }, ..Source::new(Origin::RemoteFile(origin)) }
}

async fn failure(follower: &Follower, name: &str, source: &Source) -> String {
    follower.until(&named(name), source, |state| state.failure.is_some()).await.failure.unwrap().message
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_when_it_is_given() {
    let (authority, server, follower) = (Authority::new(), Server::default(), Follower::new());
    server.put("/a.yaml", "a: 1");
    let address = authority.serve(&server, false, &follower).await;
    let message = failure(&follower, "unknown", &file(&address, Tls::default())).await;
    assert!(message.contains("certSecretRef"), "{message}");
    let other = Tls { authorities: Authority::new().pem(), ..Tls::default() };
    let message = failure(&follower, "other", &file(&address, other)).await;
    assert!(message.contains("certificate"), "{message}");
    let none = Tls { authorities: Some(Hidden::new("nonsense")), ..Tls::default() };
    let message = failure(&follower, "none", &file(&address, none)).await;
    assert!(message.contains("ca.crt holds no PEM certificate"), "{message}");
    let right = Tls { authorities: authority.pem(), ..Tls::default() };
    follower.until(&named("right"), &file(&address, right), |state| state.artifact.is_some()).await;
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_one_is_wanted() {
    let (authority, server, follower) = (Authority::new(), Server::default(), Follower::new());
    server.put("/a.yaml", "a: 1");
    let address = authority.serve(&server, true, &follower).await;
    let bare = Tls { authorities: authority.pem(), ..Tls::default() };
    let message = failure(&follower, "bare", &file(&address, bare.clone())).await;
    assert!(message.contains("ertificate"), "{message}");
    let (certificate, key) = authority.signs("client");
    let half = Tls { certificate: Some(Hidden::new(certificate.pem())), ..bare.clone() };
    let message = failure(&follower, "half", &file(&address, half.clone())).await;
    assert!(message.contains("both tls.crt and tls.key"), "{message}");
    let whole = Tls { key: Some(Hidden::new(key.serialize_pem())), ..half };
    follower.until(&named("whole"), &file(&address, whole), |state| state.artifact.is_some()).await;
}

#[tokio::test]
async fn nothing_leads_from_an_encrypted_address_to_one_in_clear() {
    let (authority, server, follower) = (Authority::new(), Server::default(), Follower::new());
    let plain = Server::default();
    let clear = plain.start(&follower).await;
    plain.put("/a.yaml", "a: 1");
    server.redirect("/a.yaml", &format!("http://{clear}/a.yaml"));
    let address = authority.serve(&server, false, &follower).await;
    let tls = Tls { authorities: authority.pem(), ..Tls::default() };
    let message = failure(&follower, "down", &file(&address, tls)).await;
    assert!(message.contains("redirects from https to http"), "{message}");
    assert_eq!(plain.asked.load(std::sync::atomic::Ordering::SeqCst), 0);
}
